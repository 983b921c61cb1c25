"""A task, two strategies and an engine that need no model: answers depend on the request alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from outthink.bench.plan import Plan
from outthink.core.errors import PromptTooLong
from outthink.core.problem import Problem, Secret
from outthink.core.receipt import Cost, Receipt
from outthink.core.types import Answer
from outthink.engine.request import Request


@dataclass(frozen=True)
class Sums:
    """Add two numbers. The problems whose index ends in 7 are too long."""

    level: int = 1
    name = "sums"
    statement = "Add."

    def problem(self, split: str, index: int) -> Problem:
        if index >= 1000:
            raise ValueError(f"sums has 1000 problems, index {index} is past the last")
        reference = str(index + self.level)
        prompt = f"{index} <+> {self.level}?"
        return Problem(prompt, f"sums/{split}/{index}", task=self, secret=Secret(reference))

    def check(self, problem: Problem, final: str | None) -> bool:
        return final == problem.secret.reference

    def check_steps(self, problem: Problem, steps: Iterable[str]) -> list[bool]:
        return [True for _ in steps]


@dataclass(frozen=True)
class Guess:
    """Right with a chance that grows with n."""

    n: int = 1

    async def __call__(self, root: object, /) -> Answer:
        raise AssertionError("the fake engine answers by itself")


class Done(NamedTuple):
    request: Request
    answer: Answer | None
    error: BaseException | None


def answer_to(request: Request) -> Answer:
    """The answer of a request, whatever else runs; times differ from call to call."""
    problem, strategy = request.problem, request.strategy
    assert isinstance(problem, Problem) and isinstance(strategy, Guess)
    right = random.Random(request.seed).random() < 1 - 0.6**strategy.n
    final = problem.secret.reference if right else None
    spent = Cost(written=20 * strategy.n, positions=30 * strategy.n, flops=1e6 * strategy.n)
    used = Cost(passes=20, seconds=random.random())
    return Answer(
        f"so <b>\nA: {final}", final, 0.5, "eos", 20, receipt=Receipt(spent, used, config=request.config)
    )


class FakeEngine:
    """Yields in an order that no plan has. `before` hears how many there were."""

    def __init__(self, before: Callable[[int], None] = lambda number: None, too_long: bool = False) -> None:
        self.before = before
        self.too_long = too_long
        self.asked: list[Request] = []
        self.most_ahead = 0

    def map(self, requests: Iterable[Request], concurrency: int = 32) -> Iterator[Done]:
        source, chance, number = iter(requests), random.Random(1), 0
        waiting = list(islice(source, concurrency))
        while waiting:
            self.before(number)
            request = waiting.pop(chance.randrange(len(waiting)))
            self.asked.append(request)
            number += 1
            self.most_ahead = max(self.most_ahead, len(waiting) + number)
            if self.too_long and request.tag.pair.index % 10 == 7:
                yield Done(request, None, PromptTooLong("the prompt is too long"))
            else:
                yield Done(request, answer_to(request), None)
            waiting += islice(source, 1)


def plan(
    n: int = 12, seed: int = 0, levels: tuple[int, ...] = (1, 2), sizes: tuple[int, ...] = (1, 8)
) -> Plan:
    tasks = {"sums" if level == 1 else f"sums(level={level})": Sums(level) for level in levels}
    return Plan(tasks, {f"guess(n={size})": Guess(size) for size in sizes}, n=n, seed=seed)
