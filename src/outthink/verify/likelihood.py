"""How likely the model found what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.errors import BadInput
from outthink.core.types import Can, Candidate, Score
from outthink.spec import show


def written(candidate: Candidate) -> list[float]:
    """The log-probabilities of the tokens that were written on a candidate's branch. BadInput if there are
    none."""
    logps = [p for p in candidate.branch.logps if p is not None] if candidate.branch is not None else []
    if not logps:
        raise BadInput(
            "likelihood() needs the log-probabilities of what was written; this candidate has none"
        )
    return logps


@dataclass(frozen=True)
class Likelihood:
    """Mean log-probability a token (perplexity = exp(-value)), or with `per="text"` the sum. Natural
    logarithm."""

    per: str = "token"
    records = ()

    needs = Can.LOGPROBS
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.per not in ("token", "text"):
            raise ValueError(f"per={self.per!r}: give 'token' or 'text'")

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        return [self._one(written(c)) for c in candidates]

    def _one(self, logps: list[float]) -> Score:
        return Score(sum(logps) / len(logps) if self.per == "token" else sum(logps))
