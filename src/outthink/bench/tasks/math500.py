"""Competition problems from a local file in the format of MATH-500 (problem, solution, answer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.bench.tasks._files import entry
from outthink.core.problem import Problem, Secret
from outthink.text import equivalent

FIELDS = ("problem", "answer")


def boxed(text: str) -> str | None:
    r"""What stands inside the last \boxed{...}, brackets balanced."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed{")
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth < 0:
            return text[begin:at]
    return None


@dataclass(frozen=True)
class Math500:
    """Problems of a local file; nothing is downloaded."""

    path: str

    name = "math500"
    statement = "Competition mathematics from a local JSONL file; the answer is an expression."

    def problem(self, split: str, index: int) -> Problem:
        """Problem number `index` of the file."""
        record = entry(self.path, FIELDS, split, index)
        reference = record["answer"].strip()
        secret = Secret(reference, f"{str(record.get('solution', '')).strip()}\nA: {reference}".lstrip())
        tag = f"{self.name}/0/{split}/{index}"
        return Problem(record["problem"], id=tag, task=self, secret=secret)

    def check(self, problem: Problem, final: str | None) -> bool:
        """Whether `final`, or what it puts in a box, is equivalent to the reference."""
        if final is None:
            return False
        inner = boxed(final)
        return equivalent(final if inner is None else inner, problem.secret.reference)

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        """There is none: free-form mathematics is not checked line by line."""
        raise ValueError("math500 has no step checker")
