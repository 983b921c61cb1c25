"""The task's own step checker, with as much noise as one likes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    text, where there is no branch), so that copies of one text are judged anew. With `by="text"` they are a
    function of the problem and the text up to and with the line: the same words get the same verdict on every
    branch, live and recorded, and a wrong one stays as the text goes on, as with a trained model.
    """

    noise: float = 0.0
    by: str = "branch"
    records = ()
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise={self.noise}: give a probability from 0 to 1")
        if self.by not in ("branch", "text"):
            raise ValueError(f"by={self.by!r}: give 'branch' or 'text'")

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
        flips = self._by_text(candidate, steps) if self.by == "text" else self._by_branch(candidate)
        heard = [v != flips(i) for i, v in enumerate(verdicts)]
        return Score(sum(heard) / len(heard), tuple(map(float, heard)), all(heard))

    def _by_branch(self, candidate: Candidate) -> Callable[[int], bool]:
        """Whether the verdict on line i is flipped, for one branch or one recorded sample."""
        if candidate.branch is not None:
            chance = candidate.branch.chance("verdict")
        else:
            place = candidate.sampled.place if candidate.sampled is not None else 0
            chance = Chance(digest(candidate.problem.id, place, candidate.text))
        return lambda i: chance.flip(self.noise, index=i)

    def _by_text(self, candidate: Candidate, steps: Sequence[str]) -> Callable[[int], bool]:
        """The same for a text, whoever wrote it. Line len(steps) is the missing answer."""
        lines = [step.strip() for step in steps]
        name = candidate.problem.id or candidate.problem.prompt
        return lambda i: Chance(digest("verdict", name, i, *lines[: i + 1])).flip(self.noise)
