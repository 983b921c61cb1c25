"""Self-consistency: sample many, and let equivalent final answers vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy.once import Once
from outthink.text import classes


def tally(answers: Sequence[Answer], weights: Sequence[float] | None = None) -> list[tuple[float, Answer]]:
    """(weight, first member) of every class of equivalent final answers, heaviest first.

    Answers without a final answer are in no class. Ties go to the class whose first member comes first.
    """
    totals: dict[int, float] = {}
    first: dict[int, Answer] = {}
    for i, (answer, label) in enumerate(zip(answers, classes([a.final for a in answers]), strict=True)):
        if label is not None:
            totals[label] = totals.get(label, 0.0) + (1.0 if weights is None else weights[i])
            first.setdefault(label, answer)
    return sorted(((w, first[label]) for label, w in totals.items()), key=lambda entry: -entry[0])


def elect(answers: Sequence[Answer], weights: Sequence[float] | None = None) -> Answer:
    """The first member of the heaviest class, scored by its share of all weight; without any class, the
    first answer."""
    ranked = tally(answers, weights)
    if not ranked:
        return replace(answers[0], score=0.0, others=tuple(answers[1:]))
    weight, winner = ranked[0]
    total = float(len(answers)) if weights is None else sum(weights)
    others = tuple(a for a in answers if a is not winner)
    return replace(winner, score=weight / total if total else 0.0, others=others)


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
        if self.n < 1:
            raise ValueError(f"n={self.n}: give at least 1")

    async def __call__(self, root: Branch, /) -> Answer:
        ended: dict[int, Answer] = {}

        async def one(i: int, branch: Branch) -> Answer:
            ended[i] = await self.inner(branch)
            root.offer(elect([ended[k] for k in sorted(ended)]), rank=len(ended))
            return ended[i]

        return elect(await gather(*(one(i, branch) for i, branch in enumerate(root.fork(self.n)))))
