"""Self-consistency: sample many, and let equivalent final answers vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.samples import Choice, Sampled
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._select import need_positive, poll, sample_and_select, settle
from outthink.strategy.once import Once


def elect(answers: Sequence[Answer], weights: Sequence[float] | None = None) -> Answer:
    """The first member of the heaviest class, scored by its share of all weight; without any class, the
    first answer."""
    return settle(answers, lambda samples: poll(samples, weights))


@dataclass(frozen=True)
class Vote:
    """Sample n answers; the largest class of equivalent final answers wins.

    answer = argmax over classes c of |{i : final_i in c}|. Invalid answers never win; ties go to the class
    that appeared first in the order of the samples. Wang et al., "Self-Consistency Improves Chain of Thought
    Reasoning in Language Models", arXiv 2203.11171.
    """

    n: int = 8
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        need_positive(self.n)

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        return poll(samples)

    async def __call__(self, root: Branch, /) -> Answer:
        return await sample_and_select(root, [self.inner] * self.n, self.select)
