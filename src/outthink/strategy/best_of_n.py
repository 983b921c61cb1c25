"""Best of n: sample many, keep the one that the verifier likes best."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from outthink.core.branch import Branch
from outthink.core.judging import judge
from outthink.core.protocols import Strategy, Verifier
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy.once import Once


async def scored(inner: Strategy, verifier: Verifier, branch: Branch) -> Answer:
    """An answer of `inner` with the verifier's score, offered."""
    answer = await inner(branch)
    [score] = await judge(verifier, [branch.candidate(answer)])
    answer = replace(answer, score=score.value)
    branch.offer(answer)
    return answer


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
        if self.n < 1:
            raise ValueError(f"n={self.n}: give at least 1")

    async def __call__(self, root: Branch, /) -> Answer:
        root.record(*self.verifier.records)
        answers = await gather(*(scored(self.inner, self.verifier, b) for b in root.fork(self.n)))
        best = max(range(self.n), key=lambda i: (answers[i].score, -i))
        return replace(answers[best], others=tuple(a for i, a in enumerate(answers) if i != best))
