"""How likely the model found what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from outthink.core.errors import BadInput
from outthink.core.judging import NO_WORD, is_blank
from outthink.core.types import Can, Candidate, Score
from outthink.spec import show


class Written(NamedTuple):
    """The log-probability of a text, and of how many tokens."""

    logprob: float
    tokens: int


def written(candidate: Candidate) -> Written:
    """What is known of a candidate: as it was recorded, or from its branch. BadInput if it is not enough."""
    recorded = candidate.sampled
    if recorded is not None and recorded.logprob is not None:
        return Written(recorded.logprob, recorded.tokens)
    if candidate.branch is not None:
        logps = [p for p in candidate.branch.logps if p is not None]
        if logps:
            return Written(sum(logps), len(logps))
    raise BadInput("likelihood() needs the log-probabilities of what was written; this candidate has none")


@dataclass(frozen=True)
class Likelihood:
    """Mean log-probability a token (perplexity = exp(-value)), or with `per="text"` the sum. Natural
    logarithm. No word (-inf) on a text of which nothing is left; BadInput where it is not known."""

    per: str = "token"
    records = ()

    needs = Can.LOGPROBS
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.per not in ("token", "text"):
            raise ValueError(f"per={self.per!r}: give 'token' or 'text'")

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        return [NO_WORD if is_blank(c) else self._one(written(c)) for c in candidates]

    def _one(self, known: Written) -> Score:
        if self.per == "text":
            return Score(known.logprob)
        if known.tokens < 1:
            raise BadInput("likelihood() needs the number of tokens, or per='text'; this candidate has none")
        return Score(known.logprob / known.tokens)
