"""Self-certainty: how far the model's distributions were from uniform while it wrote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.errors import BadInput
from outthink.core.judging import NO_WORD, is_blank
from outthink.core.types import Can, Candidate, Score
from outthink.spec import show


@dataclass(frozen=True)
class Certainty:
    """Mean over written tokens of KL(uniform || p) = -log V - (1/V) sum over v of log p(v), in nats.

    No word (-inf) on a text of which nothing is left; BadInput where nobody recorded the statistic.
    Kang et al., "Scalable Best-of-N Selection for Large Language Models via Self-Certainty", arXiv
    2502.18581.
    """

    records = ("certainty",)

    needs = Can.STATS
    remote_safe = True
    __repr__ = show

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        return [self._one(c) for c in candidates]

    def _one(self, candidate: Candidate) -> Score:
        if is_blank(candidate):
            return NO_WORD
        known = [
            one.stats.get("certainty") for one in (candidate.sampled, candidate.branch) if one is not None
        ]
        values = [v for v in next(filter(None, known), ()) if not math.isnan(v)]
        if not values:
            raise BadInput(
                "certainty() needs the distributions of what was written; this candidate has none recorded"
            )
        return Score(sum(values) / len(values))
