"""The arithmetic of the report: curves over budgets, paired differences, and how many times the tokens."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from benchmarks.strategies.lines import Line
from outthink.stats import Difference, Interval, paired_bootstrap, wilson

RESAMPLES = 2000


def compact(line: Line) -> Line:
    """A line without what is needed in the mean alone."""
    means = {name: round(fmean(line[name]), 2) for name in ("verified", "positions") if name in line}
    return line | means


class Point(NamedTuple):
    """One strategy at one budget on the cells of all families: right or not, and tokens in samples."""

    right: tuple[float, ...]
    spent: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        return fmean(self.right)

    def interval(self) -> Interval:
        return wilson(math.fsum(self.right), len(self.right))


@dataclass(frozen=True)
class Results:
    """All lines of a run, by family, strategy, verifier and multiple."""

    lines: Mapping[tuple[str, str, str, int], Line]
    families: tuple[str, ...]
    means: Mapping[str, float]  # tokens of one sample, by family

    def point(self, strategy: str, verifier: str, multiple: int) -> Point | None:
        """The cells of all families, in one order; None unless every family was run."""
        found = [self.lines.get((family, strategy, verifier, multiple)) for family in self.families]
        if None in found:
            return None
        whole = [line for line in found if line is not None]
        right = (float(value) for line in whole for value in line["right"])
        spent = (value / self.means[line["family"]] for line in whole for value in line["written"])
        return Point(tuple(right), tuple(spent))

    def curve(self, strategy: str, verifier: str) -> dict[int, Point]:
        """Every budget at which all families were run."""
        multiples = sorted({key[3] for key in self.lines if key[1:3] == (strategy, verifier)})
        found = {multiple: self.point(strategy, verifier, multiple) for multiple in multiples}
        return {multiple: point for multiple, point in found.items() if point is not None}


def difference(pairs: Iterable[tuple[Point, Point]], seed: int = 0) -> Difference:
    """How much more often the first is right, cell by cell, averaged over the pairs (budgets) of a cell."""
    gaps = [[x - y for x, y in zip(a.right, b.right, strict=True)] for a, b in pairs]
    if not gaps:
        raise ValueError("nothing to compare")
    means = [fmean(cell) for cell in zip(*gaps, strict=True)]
    return paired_bootstrap(means, [0.0] * len(means), seed, RESAMPLES)


def needed(curve: Sequence[tuple[float, float]], target: float) -> float:
    """How much a rival with this curve of (spent, accuracy) spends until it is as accurate; inf if never.

    Between points accuracy is linear in log(spent); a curve never falls, as one could stop earlier. What the
    first point reaches costs what that does.
    """
    spent, best = curve[0]
    if best >= target:
        return spent
    for more, accuracy in curve[1:]:
        if accuracy >= target:
            share = (target - best) / (accuracy - best)
            return float(spent * (more / spent) ** share)
        if accuracy > best:
            spent, best = more, accuracy
    return math.inf


class Ratio(NamedTuple):
    """How many times as much the rival spends, and a 95 % interval.

    Where its largest budget does not suffice, `value` and `high` are infinite, and `low` and `least` say by
    how much that budget is larger: the ratio is above.
    """

    value: float
    low: float
    high: float
    least: float  # of `value`, as far as the rival was run


def token_ratio(own: Point, rival: Sequence[Point], seed: int = 0, resamples: int = 400) -> Ratio:
    """Tokens that a rival needs for the accuracy of `own`, divided by what `own` spent; cells resampled."""
    n, chance = len(own.right), random.Random(seed)

    def ratio(take: Sequence[int]) -> tuple[float, float]:
        def mean(values: Sequence[float]) -> float:
            return math.fsum(values[i] for i in take) / len(take)

        curve = [(mean(point.spent), mean(point.right)) for point in rival]
        found = needed(curve, mean(own.right))
        return found / mean(own.spent), min(found, curve[-1][0]) / mean(own.spent)

    drawn = [ratio(chance.choices(range(n), k=n)) for _ in range(resamples)]
    cut = round(0.025 * (resamples - 1))
    low = sorted(least for _, least in drawn)[cut]
    high = sorted(value for value, _ in drawn)[-1 - cut]
    value, least = ratio(range(n))
    return Ratio(value, low, high, least)


Verdict = Callable[[float, float], str]
HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided at this n"
MARGIN = 0.02  # "no worse": not by more than two points


def no_worse(low: float, high: float) -> str:
    """A claim that a difference is not below zero."""
    return HOLDS if low >= -MARGIN else FAILS if high < 0 else OPEN


def better(low: float, high: float) -> str:
    """A claim that a difference is above zero."""
    return HOLDS if low > 0 else FAILS if high < 0 else OPEN


def at_least(bound: float) -> Verdict:
    """A claim that a ratio is at least `bound`."""
    return lambda low, high: HOLDS if low >= bound else FAILS if high < bound else OPEN
