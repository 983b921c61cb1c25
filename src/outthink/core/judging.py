"""Calling a verifier: always a batch, counted, under its time limit, and its word checked before anyone
believes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from outthink.core.errors import Misuse, OutthinkError, VerifierFailed
from outthink.core.protocols import Verifier
from outthink.core.receipt import Cost
from outthink.core.tasks import current
from outthink.core.types import Budget, Candidate, Score
from outthink.core.work import Limit

NO_WORD = Score(-math.inf)


def is_blank(candidate: Candidate) -> bool:
    """Whether nothing is left of what was written: it began with a stop, which is cut off."""
    return not candidate.text and candidate.tokens == ()


async def judge(verifier: Verifier, candidates: Sequence[Candidate]) -> list[Score]:
    """One score for each candidate. What it spends is a block of its own on the receipt, `verify`.

    A verifier with a field `seconds` is ended after so long. Raises VerifierFailed if it took longer or
    raised, Misuse if it returns another number of scores or something that is none; errors whose message is
    meant to be read (BadInput) pass as they are.
    """
    seconds = getattr(verifier, "seconds", None)
    found: Any = None
    with Limit(current().run, "verify", Budget(seconds=seconds), None) as scope:
        if not getattr(verifier, "parts", ()):  # one that is made of others is counted through them
            scope.charge(Cost(verified=len(candidates)))
            scope.charge_actual(Cost(verified=len(candidates)))
        found = await _called(verifier, candidates)
    if found is None:
        raise VerifierFailed(
            f"{verifier!r} took longer than its {seconds:g} s for {len(candidates)} candidates"
        )
    return _checked(verifier, candidates, found)


async def _called(verifier: Verifier, candidates: Sequence[Candidate]) -> Any:
    """What it returns, never None."""
    try:
        found = await verifier(candidates)
    except OutthinkError:
        raise
    except Exception as error:
        raise VerifierFailed(f"{verifier!r} raised {type(error).__name__}: {error}") from error
    return () if found is None else found


def _checked(verifier: Verifier, candidates: Sequence[Candidate], found: Any) -> list[Score]:
    if not isinstance(found, (list, tuple)):
        raise Misuse(f"{verifier!r} gave {type(found).__name__}, not a list of scores")
    if len(found) != len(candidates):
        raise Misuse(f"{verifier!r} gave {len(found)} scores for {len(candidates)} candidates")
    bad = next((s for s in found if not _is_score(s)), None)
    if bad is not None or None in found:
        raise Misuse(f"{verifier!r} gave {bad!r}, which is not a score")
    return list(found)


def _is_score(score: Any) -> bool:
    return isinstance(score, Score) and all(map(_is_number, (score.value, *score.steps)))


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and not math.isnan(x)
