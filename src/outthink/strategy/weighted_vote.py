"""A vote in which every sample counts as much as the verifier trusts it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.protocols import Strategy, Verifier
from outthink.core.samples import Choice, Sampled
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._select import need_positive, poll, sample_and_select, scores_of
from outthink.strategy.once import Once


@dataclass(frozen=True)
class WeightedVote:
    """Sample n answers; the class of equivalent final answers with the largest sum of weights wins.

    answer = argmax over classes c of sum over i in c of weight(score_i), where weight is the score itself
    (`weight="value"`, scores must not be negative), its exponential, shifted by the largest (`weight="exp"`,
    for log-probabilities), or its rank (`weight="rank"`: of n the best counts n, the worst 1, level ones
    what they would have on average: a Borda count). Each is raised to `power`. Invalid answers never win;
    ties go to the class that appeared first; an answer on which the verifier has no word (-inf) weighs
    nothing. Li et al., "Making Large Language Models Better Reasoners with
    Step-Aware Verifier", arXiv 2206.02336; ranks: Kang et al., "Scalable Best-of-N Selection for Large
    Language Models via Self-Certainty", with verifier=certainty().
    """

    verifier: Verifier
    n: int = 8
    weight: str = "value"
    power: float = 1.0
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        need_positive(self.n)
        if self.weight not in ("value", "exp", "rank"):
            raise ValueError(f"weight={self.weight!r}: give 'value' or 'exp' or 'rank'")
        if not 0 <= self.power < math.inf:
            raise ValueError(f"power={self.power}: give 0 (all count alike) or more")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        scores = scores_of(samples)
        weighed = zip(self._weights(scores), scores, strict=True)
        return poll(samples, [w**self.power if s > -math.inf else 0.0 for w, s in weighed])

    async def __call__(self, root: Branch, /) -> Answer:
        return await sample_and_select(root, [self.inner] * self.n, self.select, self.verifier)

    def _weights(self, scores: list[float]) -> list[float]:
        """What each score counts, before it is raised to the power."""
        heard = [s for s in scores if s > -math.inf]
        if self.weight == "exp":
            top = max(heard, default=0.0)
            return [1.0 if s == top else math.exp(s - top) for s in scores]  # top may be infinite
        if self.weight == "rank":
            return [sum((s > t) + 0.5 * (s == t) for t in scores) + 0.5 for s in scores]
        if min(heard, default=0.0) < 0:
            raise BadInput(f"{self.verifier!r} gives negative scores; use weight='exp' for log-probabilities")
        return [max(s, 0.0) for s in scores]
