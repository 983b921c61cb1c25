"""What is run: families, budgets, seeds, problems; and the unit of a budget, one sample of the family."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import outthink as ot
from outthink.bench import tasks
from outthink.bench.plan import Pair, seed_of
from outthink.core.problem import Problem
from outthink.engine.request import Request
from outthink.text import split_steps

if TYPE_CHECKING:
    from outthink.engine.engine import Engine

FAMILIES = ("steps", "countdown", "paths", "procedures")
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
SEEDS = (0, 1, 2, 3, 4)
TEMPERATURE = 0.8
STRIDE = 8  # seed s has the test problems from STRIDE * s on
PROBLEMS = 6  # of these, for each family and seed
TRIALS = (24, 16)  # problems of the train split, and samples of each, that the unit is measured on


class Cell(NamedTuple):
    """One problem under one seed. Each seed has problems of its own: pairs are independent of one another."""

    family: str
    seed: int
    number: int  # of the test problem

    def problem(self) -> Problem:
        return tasks.load(self.family).problem("test", self.number)

    def key(self) -> int:
        """The seed of its requests: the same for every strategy and budget."""
        return seed_of(self.seed, self.problem(), Pair(self.family, "", self.number))


def cells(family: str, problems: int = PROBLEMS, seeds: Sequence[int] = SEEDS) -> list[Cell]:
    """The first `problems` test problems of every seed."""
    if not 1 <= problems <= STRIDE:
        raise SystemExit(f"problems={problems}: give 1 to {STRIDE}")
    return [Cell(family, seed, STRIDE * seed + i) for seed in seeds for i in range(problems)]


@dataclass(frozen=True)
class Unit:
    """How long texts of a family are, in tokens, on the train split."""

    mean: float  # of a sample
    long: int  # 95 % of samples are no longer
    step: int  # the longest step seen

    def cap(self, multiple: int) -> int:
        """The budget: so many times the mean of one sample."""
        return math.ceil(multiple * self.mean)

    def room(self, multiple: int) -> int:
        """How many whole texts surely fit, at least one: the n of what writes side by side."""
        return max(1, self.cap(multiple) // self.long)


def measure_unit(engine: Engine, family: str, trials: tuple[int, int] = TRIALS) -> Unit:
    """The unit of a family, from samples of train problems."""
    problems, n = trials
    task = tasks.load(family)
    samples = [a for done in engine.map(_trials(task, problems, n)) for a in _all(done.answer)]
    lengths = sorted(a.tokens for a in samples)
    encode = engine.main.tokenizer.encode
    longest = max(len(encode(step)) for a in samples for step in split_steps(a.text))
    return Unit(fmean(lengths), lengths[math.ceil(0.95 * len(lengths)) - 1], longest)


def _trials(task: Any, problems: int, n: int) -> Iterator[Request]:
    for i in range(problems):
        yield Request(ot.strategy.Vote(n=n), task.problem("train", i), seed=i, sampling=sampling())


def _all(answer: ot.Answer | None) -> list[ot.Answer]:
    return [answer, *answer.others] if answer is not None else []


def sampling() -> ot.Sampling:
    """How every strategy writes, unless the strategy itself says otherwise."""
    return ot.Sampling(temperature=TEMPERATURE)
