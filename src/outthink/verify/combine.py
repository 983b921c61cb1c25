"""Several verifiers as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.judging import NO_WORD, judge
from outthink.core.protocols import Verifier
from outthink.core.tasks import gather
from outthink.core.types import Candidate, Score
from outthink.spec import show


@dataclass(frozen=True)
class Combine:
    """Join the scores of several verifiers, each called once with the whole batch.

    how="mean": sum of weight_j * value_j / sum of weight_j; "min": the least value; "product": of
    value_j ** weight_j (values must not be negative). A candidate on which any of them has no word (-inf)
    gets none. It passed if it passed all that say so. Weights are 1 unless given.
    """

    parts: tuple[Verifier, ...]
    how: str = "mean"
    weights: tuple[float, ...] = ()

    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("parts=(): give at least one verifier")
        if self.how not in ("mean", "min", "product"):
            raise ValueError(f"how={self.how!r}: give 'mean', 'min' or 'product'")
        if self.weights and (self.how == "min" or len(self.weights) != len(self.parts)):
            raise ValueError(f"weights={self.weights}: give one for each part, and none with how='min'")
        if not all(0 < w < math.inf for w in self.weights):
            raise ValueError(f"weights={self.weights}: give numbers above 0")

    @property
    def records(self) -> tuple[str, ...]:
        """All that its parts want recorded."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.records))

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        words = await gather(*(judge(part, candidates) for part in self.parts))
        return [self._join(scores) for scores in zip(*words, strict=True)]

    def _join(self, scores: Sequence[Score]) -> Score:
        values = [s.value for s in scores]
        if -math.inf in values:
            return NO_WORD
        verdicts = [s.passed for s in scores if s.passed is not None]
        return Score(self._value(values), passed=all(verdicts) if verdicts else None)

    def _value(self, values: list[float]) -> float:
        weights = self.weights or (1.0,) * len(values)
        if self.how == "min":
            return min(values)
        if self.how == "mean":
            return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)
        if min(values) < 0:
            raise ValueError(f"a product of negative scores ({min(values):g}) has no order; use how='mean'")
        return math.prod(v**w for w, v in zip(weights, values, strict=True))
