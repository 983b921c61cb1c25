"""Best of majority: among the answers that are frequent, the ones with the highest reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy, Verifier
from outthink.core.samples import Choice, Sampled
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._select import logprobs_of, members, need_positive, sample_and_select, scores_of
from outthink.strategy.once import Once


@dataclass(frozen=True)
class BestOfMajority:
    """Sample n answers, keep the classes that are frequent, submit the k of these with the highest reward.

    kept = {c : |c| >= share * n}, or the largest classes if there is none; picks = the k of kept with the
    highest mean reward of their members. The reward is the verifier's score (of a member without a word,
    -inf, there is none; a class of such members comes last); with verifier=None, the model's mean
    log-probability a token. One pick is the answer, the others come first among `answer.others`; under
    replay any right pick counts (pass@k). Di et al., "Best-of-Majority: Minimax-Optimal Strategy for Pass@k
    Inference Scaling"; `share` is ours.
    """

    verifier: Verifier | None = None
    k: int = 1
    n: int = 8
    share: float = 0.2
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        need_positive(self.n)
        if self.k < 1:
            raise ValueError(f"k={self.k}: give at least 1")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share={self.share}: give a share from 0 to 1")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        groups = members(samples)
        if not groups:
            return Choice((0,), (0,), 0.0)
        places = sorted(i for group in groups for i in group)
        rewards = dict(zip(places, self._rewards([samples[i] for i in places]), strict=True))
        enough = min(self.share * len(samples), max(map(len, groups)))
        means = {g[0]: _mean([rewards[i] for i in g]) for g in groups if len(g) >= enough}
        order = sorted(means, key=lambda first: (-means[first], first))
        picks = tuple(order[: self.k])
        level = tuple(first for first in order if means[first] == means[picks[-1]])
        return Choice(picks, level, means[picks[0]])

    async def __call__(self, root: Branch, /) -> Answer:
        return await sample_and_select(root, [self.inner] * self.n, self.select, self.verifier)

    def _rewards(self, samples: Sequence[Sampled]) -> list[float]:
        return logprobs_of(samples, "token") if self.verifier is None else scores_of(samples)


def _mean(rewards: Sequence[float]) -> float:
    """The mean of those that say something; -inf if none does."""
    heard = [reward for reward in rewards if reward > -math.inf]
    return math.fsum(heard) / len(heard) if heard else -math.inf
