"""Word problems that take several operations, with sentences that do not matter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from outthink.bench.tasks import _stories
from outthink.bench.tasks._common import LONGEST_LINE, answer_of, make, need_level, whole
from outthink.core.problem import Problem

LINE = re.compile(
    r"\s*(?:(?:for )?([A-Za-z]{1,20}): )?([0-9]{1,12}) ([-+*/]) ([0-9]{1,12}) = ([0-9]{1,12})\s*"
)


@dataclass
class Judge:
    """Follows a solution line by line: which operations are done, which amounts are not yet added up."""

    plan: Sequence[_stories.Operation]
    parts: Sequence[tuple[int, int]]  # (amount, operation that gives it or GIVEN) for a closing sum
    done: set[int] = field(default_factory=set)
    merged: list[int] = field(default_factory=list)  # amounts of the sum so far, as they stand
    taken: set[int] = field(default_factory=set)  # parts already merged into one of those

    def line(self, text: str) -> bool:
        """Whether the line is arithmetically right and one of the operations that can be done now."""
        match = LINE.fullmatch(text) if len(text) <= LONGEST_LINE else None
        if match is None:
            return False
        label, a, op, b, c = match[1], int(match[2]), match[3], int(match[4]), int(match[5])
        if not _stories.holds(a, op, b, c):
            return False
        return self._do(label, a, op, b) or (op == "+" and self._merge(a, b))

    def _do(self, label: str | None, a: int, op: str, b: int) -> bool:
        """Mark the first planned operation that this is and whose inputs are known."""
        for i, step in enumerate(self.plan):
            if i not in self.done and self._ready(step.needs) and step.same(label, a, op, b):
                self.done.add(i)
                return True
        return False

    def _ready(self, need: int) -> bool:
        """Whether what an operation starts from is known."""
        if need == _stories.TOTAL:
            return len(self.merged) == 1 and len(self.taken) == len(self.parts)
        return need == _stories.GIVEN or need in self.done

    def _merge(self, a: int, b: int) -> bool:
        """Add two amounts of the closing sum, in any order."""
        before = (list(self.merged), set(self.taken))
        if self._take(a) and self._take(b):
            self.merged.append(a + b)
            return True
        self.merged, self.taken = before
        return False

    def _take(self, amount: int) -> bool:
        """Use up a partial sum or a known part of that amount."""
        if amount in self.merged:
            self.merged.remove(amount)
            return True
        for i, (value, need) in enumerate(self.parts):
            if i not in self.taken and value == amount and self._ready(need):
                self.taken.add(i)
                return True
        return False


@dataclass(frozen=True)
class Steps:
    """Word problems with a line per operation."""

    level: int = 4
    seed: int = 0

    name = "steps"
    statement = (
        "Solve a word problem of several sentences, one operation (+ - * or an exact /) a line. "
        "The answer is a whole number."
    )
    levels = range(1, len(_stories.SIZES) + 1)

    def __post_init__(self) -> None:
        need_level(self.level, self.levels)

    def problem(self, split: str, index: int) -> Problem:
        """Problem number `index` of `split`."""
        return make(self, self.level, split, index, _stories.draft)

    def check(self, problem: Problem, final: str | None) -> bool:
        """Whether `final` is the number asked for."""
        value = whole(final)
        return value is not None and value == int(problem.secret.reference)

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        """A line (`a op b = c`, or `for Name: a op b = c`) is right if the arithmetic is and it is one of
        the operations the text asks for, not yet done, on given amounts or results of right lines before it.
        Amounts of a closing sum may be added in any order. A wrong line changes nothing."""
        data = problem.secret.data
        judge = Judge(data["plan"], data["parts"])
        verdicts = []
        for line in steps:
            answer = answer_of(line)
            verdicts.append(judge.line(line) if answer is None else self.check(problem, answer))
        return verdicts
