"""A vote among the solutions with the most steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.samples import Choice, Sampled
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._select import need_positive, poll_among, sample_and_select
from outthink.strategy.once import Once
from outthink.text import split_steps


@dataclass(frozen=True)
class ComplexityVote:
    """Sample n answers; the share of them with the most steps votes.

    voters = {i : steps_i >= steps of the ceil(share * n)-th longest}, a step being a line that is not blank:
    whoever is level with the last voter votes too, so that order cannot matter. Where no voter has an answer,
    those with the most steps that have one vote too. share=1 is self-consistency.
    Fu et al., "Complexity-Based Prompting for Multi-Step Reasoning"; `share` is ours.
    """

    n: int = 8
    share: float = 0.5
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        need_positive(self.n)
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share}: give a share above 0, at most 1")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        steps = [len(split_steps(s.text)) for s in samples]
        edge = sorted(steps, reverse=True)[math.ceil(self.share * len(steps) - 1e-9) - 1]
        answered = [count for count, s in zip(steps, samples, strict=True) if s.final]
        edge = min(edge, max(answered, default=edge))
        return poll_among(samples, [i for i, count in enumerate(steps) if count >= edge])

    async def __call__(self, root: Branch, /) -> Answer:
        return await sample_and_select(root, [self.inner] * self.n, self.select)
