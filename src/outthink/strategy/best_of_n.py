"""Best of n: sample many, keep the one that the verifier likes best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy, Verifier
from outthink.core.samples import Choice, Sampled
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._select import best, need_positive, sample_and_select, scores_of
from outthink.strategy.once import Once


@dataclass(frozen=True)
class BestOfN:
    """Sample n answers, keep the one with the highest score; ties go to the earlier sample.

    answer = argmax over i of verifier(answer_i). Cobbe et al., "Training Verifiers to Solve Math Word
    Problems", arXiv 2110.14168.
    """

    verifier: Verifier
    n: int = 8
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        need_positive(self.n)

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        return best(scores_of(samples))

    async def __call__(self, root: Branch, /) -> Answer:
        return await sample_and_select(root, [self.inner] * self.n, self.select, self.verifier)
