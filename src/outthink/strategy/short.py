"""short-m@k: start k samples, stop all when m have ended, and vote among those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.samples import Choice, Sampled
from outthink.core.tasks import race
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._select import poll_among, tokens_of
from outthink.strategy.once import Once
from outthink.strategy.vote import elect


@dataclass(frozen=True)
class Short:
    """Start k samples; the m with the fewest tokens vote, the rest are killed and their cache is freed.

    First means fewest tokens written, ties by branch, so the schedule cannot change the answer; a tie of
    votes goes to the shorter answer. m=1 is first-finish search. Hassid et al., "Don't Overthink it.
    Preferring Shorter Thinking Chains for Improved LLM Reasoning", arXiv 2505.17813.
    """

    m: int = 1
    k: int = 8
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE
    is_sequential = True  # samples of one length are taken in their order
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if not 1 <= self.m <= self.k:
            raise ValueError(f"m={self.m}, k={self.k}: give 1 <= m <= k")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        tokens = tokens_of(samples)
        first = sorted(range(len(samples)), key=lambda i: (tokens[i], i))[: self.m]
        edge = (tokens[first[-1]], first[-1])  # a loser is killed at the first token that makes it one
        written = sum(min(count, edge[0] + (i < edge[1])) for i, count in enumerate(tokens))
        return replace(poll_among(samples, first), written=written)

    async def __call__(self, root: Branch, /) -> Answer:
        async def one(branch: Branch) -> Answer:
            answer = await self.inner(branch)
            root.offer(answer, rank=-len(branch))
            return answer

        return elect(await race(*map(one, root.fork(self.k)), first=self.m))
