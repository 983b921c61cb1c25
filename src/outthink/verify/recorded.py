"""A score that was recorded with the sample: for replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.errors import BadInput, UnknownName
from outthink.core.types import Candidate, Score
from outthink.spec import show


@dataclass(frozen=True)
class Recorded:
    """The recorded score of that name; without a name, the only one there is. Live samples have none."""

    name: str = ""
    records = ()
    __repr__ = show

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        return [self._one(c) for c in candidates]

    def _one(self, candidate: Candidate) -> Score:
        scores = candidate.sampled.scores if candidate.sampled is not None else {}
        if not scores:
            raise BadInput("recorded() needs a sample with recorded scores; this one has none")
        if not self.name and len(scores) > 1:
            raise BadInput(f"recorded() needs a name where there are several scores: {', '.join(scores)}")
        name = self.name or next(iter(scores))
        if name not in scores:
            raise UnknownName("recorded score", name, scores)
        return Score(scores[name])
