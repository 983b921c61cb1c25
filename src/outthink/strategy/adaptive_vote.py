"""A vote that stops sampling when it is decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.samples import Choice, Sampled
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._select import members, poll_among, sampled
from outthink.strategy.once import Once
from outthink.strategy.vote import elect


def lead_is_safe(first: float, second: float) -> float:
    """P(p1 > p2) under a Beta(first + 1, second + 1) posterior of the two leading answers' shares.

    = P(Binomial(first + second + 1, 1/2) <= first)
    """
    a, n = int(first), int(first) + int(second) + 1
    return sum(math.comb(n, j) for j in range(a + 1)) / 2**n


@dataclass(frozen=True)
class AdaptiveVote:
    """Sample in waves until the leading answer is safe, at most n samples.

    After each whole wave: stop if P(leader > runner-up | votes) >= confidence (Beta posterior), or if the
    rest could not overtake it. Decisions are made on whole waves in the order of the samples, so arrival
    cannot change them. Aggarwal et al., "Let's Sample Step by Step: Adaptive-Consistency for Efficient
    Reasoning and Coding with LLMs", arXiv 2305.11860; there wave=1 and n=40.
    """

    n: int = 32
    wave: int = 4
    confidence: float = 0.95
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE
    is_sequential = True
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.n < 1 or self.wave < 1:
            raise ValueError(f"n={self.n}, wave={self.wave}: give at least 1")
        if not 0.5 <= self.confidence <= 1:
            raise ValueError(f"confidence={self.confidence}: give a probability from 0.5 to 1")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        most, drawn = min(self.n, len(samples)), 0
        while drawn < most and not self._decided(samples[:drawn], most):
            drawn = min(drawn + self.wave, most)
        return replace(poll_among(samples, range(drawn)), used=drawn)

    async def __call__(self, root: Branch, /) -> Answer:
        answers: list[Answer] = []
        while len(answers) < self.n and not self._decided([sampled(a) for a in answers], self.n):
            answers += await self._wave(root, answers)
        return elect(answers)

    async def _wave(self, root: Branch, before: list[Answer]) -> list[Answer]:
        """One more wave. Its branches stay open: what the next wave writes alike is not computed again."""
        ended: dict[int, Answer] = {}

        async def one(i: int, branch: Branch) -> None:
            ended[i] = await self.inner(branch)
            so_far = [*before, *(ended[k] for k in sorted(ended))]
            root.offer(elect(so_far), rank=len(so_far))

        branches = root.fork(min(self.wave, self.n - len(before)))
        await gather(*(one(i, branch) for i, branch in enumerate(branches)))
        return [ended[i] for i in range(len(branches))]

    def _decided(self, samples: Sequence[Sampled], most: int) -> bool:
        ranked = sorted(map(len, members(samples)), reverse=True)
        if not ranked:
            return False
        first, second = ranked[0], ranked[1] if len(ranked) > 1 else 0
        return first > second + most - len(samples) or lead_is_safe(first, second) >= self.confidence
