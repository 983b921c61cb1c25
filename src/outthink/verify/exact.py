"""The reference answer decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.errors import BadInput
from outthink.core.problem import Problem
from outthink.core.types import Candidate, Score
from outthink.spec import show
from outthink.text import equivalent


def is_right(problem: Problem, final: str | None) -> bool:
    """Whether `final` answers the problem, by its task's checker, else by its reference. BadInput if it has
    neither."""
    if problem.task is not None:
        return problem.task.check(problem, final)
    if not problem.secret.reference:
        raise BadInput(
            "exact() needs a problem with a reference answer; use another verifier for an open question"
        )
    return equivalent(final, problem.secret.reference)


@dataclass(frozen=True)
class Exact:
    """1 if the final answer is right, else 0: what an oracle would say."""

    records = ()
    remote_safe = True
    __repr__ = show

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        verdicts = [is_right(c.problem, c.final) for c in candidates]
        return [Score(float(v), passed=v) for v in verdicts]
