"""How much faster one rival was than another: total tokens over total seconds, and the range of rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.contest import Score


@dataclass(frozen=True)
class Faster:
    """A ratio of rates: of totals, and the lowest and highest of single rounds."""

    total: float
    low: float
    high: float
    rounds: int
    error: float  # the standard error of `total`, each round left out in turn; inf of a single round

    @classmethod
    def of(cls, ours: Score, theirs: Score) -> Faster:
        """Above 1 where ours is the faster."""
        each = [a / b for a, b in zip(ours.rates, theirs.rates, strict=True)]
        total, error = ours.rate / theirs.rate, jackknife(ours, theirs)
        return cls(total, min(each), max(each), len(each), error)

    def __str__(self) -> str:
        return f"{self.total:.2f} ({self.low:.2f} to {self.high:.2f})"


def jackknife(ours: Score, theirs: Score) -> float:
    """The standard error of a ratio of rates: sqrt((n - 1) / n sum (r_i - mean r)^2), r_i without round i."""
    n = len(ours.seconds)
    if n < 2:
        return math.inf
    left = [_without(ours, i) / _without(theirs, i) for i in range(n)]
    middle = sum(left) / n
    return math.sqrt((n - 1) / n * sum((ratio - middle) ** 2 for ratio in left))


def _without(score: Score, i: int) -> float:
    """Its rate but for a round."""
    return (sum(score.tokens) - score.tokens[i]) / (sum(score.seconds) - score.seconds[i])


def best(scores: Mapping[str, Score]) -> str:
    """The name of the fastest."""
    return max(scores, key=lambda name: scores[name].rate)
