"""The task's own step checker, with as much noise as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.errors import BadInput
from outthink.core.rng import Chance, digest
from outthink.core.types import Candidate, Score
from outthink.spec import show
from outthink.text import split_steps


@dataclass(frozen=True)
class Steps:
    """The share of a solution's steps that are right; a missing final answer counts as a wrong step.

    value = mean over lines of verdict_i, where each verdict is flipped with probability `noise`: a verifier
    with known imperfection. The flips are a function of seed, branch and line (of problem, place and
    text, where there is no branch).
    """

    noise: float = 0.0
    records = ()
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise={self.noise}: give a probability from 0 to 1")

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        return [self._one(c) for c in candidates]

    def _one(self, candidate: Candidate) -> Score:
        task = candidate.problem.task if candidate.problem is not None else None
        if task is None:
            raise BadInput("steps() needs a problem of a task with a step checker; see `outthink tasks`")
        steps = [s for s in split_steps(candidate.text) if s.strip()]
        verdicts = task.check_steps(candidate.problem, steps)
        if candidate.final is None:
            verdicts = [*verdicts, False]
        branch = candidate.branch
        place = candidate.sampled.place if candidate.sampled is not None else 0
        key = digest(candidate.problem.id, place, candidate.text)
        chance = branch.chance("verdict") if branch is not None else Chance(key)
        heard = [v != chance.flip(self.noise, index=i) for i, v in enumerate(verdicts)]
        return Score(sum(heard) / len(heard), tuple(map(float, heard)), all(heard))
