"""How much faster one rival was than another: total tokens over total seconds, and the range of rounds."""

from __future__ import annotations

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

    @classmethod
    def of(cls, ours: Score, theirs: Score) -> Faster:
        """Above 1 where ours is the faster."""
        each = [a / b for a, b in zip(ours.rates, theirs.rates, strict=True)]
        return cls(ours.rate / theirs.rate, min(each), max(each), len(each))

    def __str__(self) -> str:
        return f"{self.total:.2f} ({self.low:.2f} to {self.high:.2f})"


def best(scores: Mapping[str, Score]) -> str:
    """The name of the fastest."""
    return max(scores, key=lambda name: scores[name].rate)
