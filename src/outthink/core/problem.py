"""What is asked: a problem, its task, and the secret that only verifiers and benchmarks may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Secret:
    """The reference side of a problem. Read by `verify/` and `bench/` only; a test greps for trespassers."""

    reference: str = ""
    solution: str = ""  # a worked solution: one step a line, the last line `A: <answer>`
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)  # facts that the step checker needs


@runtime_checkable
class Task(Protocol):
    """A family of problems with a generator and two checkers (the answer; each step)."""

    name: str
    statement: str

    def problem(self, split: str, index: int) -> Problem:
        """Problem number `index` of `split` ("train" or "test"): the same one on every machine."""
        ...

    def check(self, problem: Problem, final: str | None) -> bool:
        """Whether `final` (the text after `A:`) answers the problem."""
        ...

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        """For each line of a (possibly unfinished) solution: is it right, given the lines before it."""
        ...


@dataclass(frozen=True, slots=True)
class Problem:
    """One question. `prompt` is the plain question; a chat template wraps it for a model."""

    prompt: str
    id: str = ""
    level: int = 0
    task: Task | None = field(default=None, repr=False, compare=False)
    secret: Secret = field(default=Secret(), repr=False, compare=False)
