"""A vote over samples drawn at several temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.samples import Choice, Sampled
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._select import need_positive, poll, sample_and_select
from outthink.strategy.sample import Sample


@dataclass(frozen=True)
class Temperatures:
    """Draw n samples, sample i at temperature values[i mod len(values)], and let their answers vote.

    A cold sample is rarely far off, a hot one finds what cold ones never do; temperature 0 is greedy. Khairi
    et al., "When Life Gives You Samples: The Benefits of Scaling up Inference Compute for Multilingual LLMs".
    """

    n: int = 8
    values: tuple[float, ...] = (0.4, 0.7, 1.0)

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        need_positive(self.n)
        if not self.values or not all(isinstance(v, (int, float)) and v >= 0 for v in self.values):
            raise ValueError(f"values={self.values}: give temperatures, 0 or more each")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        return poll(samples)

    async def __call__(self, root: Branch, /) -> Answer:
        inners = [Sample(self.values[i % len(self.values)]) for i in range(self.n)]
        return await sample_and_select(root, inners, self.select)
