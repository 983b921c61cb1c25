"""A vote in which every sample counts as much as the verifier trusts it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.judging import judge
from outthink.core.protocols import Strategy, Verifier
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy.once import Once
from outthink.strategy.vote import elect


@dataclass(frozen=True)
class WeightedVote:
    """Sample n answers; the class of equivalent final answers with the largest sum of weights wins.

    answer = argmax over classes c of sum over i in c of weight(score_i), where weight is the score itself
    (`weight="value"`, scores must not be negative) or its exponential, shifted by the largest
    (`weight="exp"`, for log-probabilities). Invalid answers never win; ties go to the class that appeared
    first. Li et al., "Making Large Language Models Better Reasoners with Step-Aware Verifier", arXiv
    2206.02336.
    """

    verifier: Verifier
    n: int = 8
    weight: str = "value"
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n={self.n}: give at least 1")
        if self.weight not in ("value", "exp"):
            raise ValueError(f"weight={self.weight!r}: give 'value' or 'exp'")

    async def __call__(self, root: Branch, /) -> Answer:
        root.record(*self.verifier.records)
        ended: dict[int, Answer] = {}

        async def one(i: int, branch: Branch) -> Answer:
            answer = await self.inner(branch)
            [score] = await judge(self.verifier, [branch.candidate(answer)])
            ended[i] = replace(answer, score=score.value)
            root.offer(self._elect([ended[k] for k in sorted(ended)]), rank=len(ended))
            return ended[i]

        return self._elect(await gather(*(one(i, branch) for i, branch in enumerate(root.fork(self.n)))))

    def _elect(self, answers: Sequence[Answer]) -> Answer:
        scores = [a.score if a.score is not None else 0.0 for a in answers]
        if self.weight == "exp":
            top = max(scores)
            scores = [math.exp(s - top) for s in scores]
        elif min(scores) < 0:
            raise BadInput(f"{self.verifier!r} gives negative scores; use weight='exp' for log-probabilities")
        return elect(answers, scores)
