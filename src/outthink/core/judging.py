"""Calling a verifier: always a batch, counted, and its word checked before anyone believes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from outthink.core.errors import Misuse
from outthink.core.protocols import Verifier
from outthink.core.tasks import current
from outthink.core.types import Candidate, Cost, Score


async def judge(verifier: Verifier, candidates: Sequence[Candidate]) -> list[Score]:
    """One score for each candidate. Misuse if the verifier returns another number of scores, or something
    that is none."""
    current().scope.charge(Cost(verified=len(candidates)))
    current().scope.charge_actual(Cost(verified=len(candidates)))
    scores = await verifier(candidates)
    if len(scores) != len(candidates):
        raise Misuse(f"{verifier!r} gave {len(scores)} scores for {len(candidates)} candidates")
    for score in scores:
        if not isinstance(score, Score) or math.isnan(score.value):
            raise Misuse(f"{verifier!r} gave {score!r}, which is not a score")
    return list(scores)
