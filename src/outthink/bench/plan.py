"""What a bench run is: every strategy on the first n test problems of every task, under one seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from outthink import spec
from outthink.core.errors import BadInput
from outthink.core.problem import Problem, Task
from outthink.core.protocols import Strategy
from outthink.core.types import Budget, Sampling

MOST = 10**6  # problems


@dataclass(frozen=True, slots=True)
class Pair:
    """One strategy on one problem; task and strategy as their configurations."""

    task: str
    strategy: str
    index: int


@dataclass(frozen=True)
class Plan:
    """The configuration of a run. What may change cost only (batch, threads) is no part of it."""

    tasks: Mapping[str, Task]  # by the configuration that they go under in the results
    strategies: Mapping[str, Strategy]
    n: int = 100
    seed: int = 0
    model: str = "pocket"
    dtype: str = "float32"
    deterministic: bool = False
    budget: Budget = field(default_factory=Budget)
    sampling: Sampling = field(default_factory=Sampling)
    parts: Mapping[str, str] = field(default_factory=dict)  # files of a user's own, with their digests

    def __post_init__(self) -> None:
        if not 1 <= self.n <= MOST:
            raise BadInput(f"n={self.n}: give at least 1 problem, at most {MOST}")
        if not self.tasks or not self.strategies:
            raise BadInput("give at least one task and one strategy")
        for task in self.tasks.values():
            task.problem(
                "test", self.n - 1
            )  # a file may hold fewer: its error says so before a token is spent

    def pairs(self) -> Iterator[tuple[Pair, Task, Strategy]]:
        """Every pair, those of one problem side by side: they share its prompt, and a cut run is balanced."""
        for index in range(self.n):
            for task_name, task in self.tasks.items():
                for name, strategy in self.strategies.items():
                    yield Pair(task_name, name, index), task, strategy

    def order(self) -> dict[Pair, int]:
        """The place of each pair in the finished results: by task, strategy, index."""
        pairs = (Pair(t, s, i) for t in self.tasks for s in self.strategies for i in range(self.n))
        return {pair: place for place, pair in enumerate(pairs)}

    def config(self) -> dict[str, Any]:
        """The configuration as plain data; two runs with the same one give the same answers."""
        return {
            "model": self.model,
            "dtype": self.dtype,
            **({"deterministic": True} if self.deterministic else {}),  # what ran before it was there goes on
            "tasks": list(self.tasks),
            "strategies": list(self.strategies),
            "n": self.n,
            "seed": self.seed,
            "budget": self.budget.caps(),
            "sampling": spec.show(self.sampling),
            **({"parts": dict(self.parts)} if self.parts else {}),
        }


def seed_of(seed: int, problem: Problem, pair: Pair) -> int:
    """The seed for one problem: every strategy gets the same. 52 bits, which any JSON reader keeps."""
    key = f"{seed}:{problem.id or f'{pair.task}/{pair.index}'}"
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") >> 12
