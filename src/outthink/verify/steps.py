"""The task's own step checker, with as much noise as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.errors import BadInput
from outthink.core.judging import NO_WORD
from outthink.core.rng import Chance, digest
from outthink.core.types import Candidate, Score
from outthink.spec import show
from outthink.text import split_steps


@dataclass(frozen=True)
class Steps:
    """The share of a solution's steps that are right; a missing final answer counts as a wrong step.

    value = mean over lines of verdict_i, where each verdict is flipped with probability `noise`: a verifier
    with known imperfection; no word (-inf) on a final answer without a line. As a reward model would, it says
    the same whenever it reads the same: a flip is a function of `seed` (none: the run's own; 0 where there is
    no run), the problem, and the text up to the end of the line.
    """

    noise: float = 0.0
    seed: int | None = None
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
        if not verdicts:  # a final answer, and no text to it
            return NO_WORD
        heard = [v != self._is_flipped(candidate, steps, i) for i, v in enumerate(verdicts)]
        return Score(sum(heard) / len(heard), tuple(map(float, heard)), all(heard))

    def _is_flipped(self, candidate: Candidate, steps: Sequence[str], line: int) -> bool:
        """Whether the verdict on a line is wrong; line len(steps) is the missing answer after them all."""
        seed = candidate.branch.run.seed if candidate.branch is not None else 0
        name = candidate.problem.id or candidate.problem.prompt
        key = digest("verdict", name, line, *(step.strip() for step in steps[: line + 1]))
        return Chance(key).flip(self.noise, index=seed if self.seed is None else self.seed)
