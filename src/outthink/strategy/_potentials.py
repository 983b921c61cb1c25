"""From a verifier's scores to log-potentials of texts, finished or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from outthink.core.errors import BadInput, Misuse
from outthink.core.judging import judge
from outthink.core.protocols import Verifier
from outthink.core.types import Score
from outthink.strategy._writing import Particle

STEPS: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda steps: steps[-1],
    "product": math.prod,
    "min": min,
    "mean": fmean,
}


@dataclass(frozen=True)
class Potential:
    """log psi(text) = log max(floor, r(text)) for rewards, r(text) itself for `scale="log"`.

    r is the score's value, or what `over` makes of its steps: last, product, min, mean. A text that has not
    ended is judged by the steps that it has: what a verifier adds for a missing end does not count. No word
    (-inf) is the reward 0.
    """

    verifier: Verifier
    over: str = "value"
    scale: str = "reward"
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.over != "value" and self.over not in STEPS:
            raise ValueError(f"over={self.over!r}: give 'value' or one of {', '.join(map(repr, STEPS))}")
        if self.scale not in ("reward", "log"):
            raise ValueError(f"scale={self.scale!r}: give 'reward' or 'log'")
        if not 0 <= self.floor < math.inf or (self.floor and self.scale == "log"):
            raise ValueError(f"floor={self.floor}: give the least reward, 0 or more (none with scale='log')")
        if self.scale == "log" and self.over == "product":
            raise ValueError("over='product' multiplies rewards; with scale='log' give 'value'")

    async def __call__(self, particles: Sequence[Particle]) -> list[float]:
        """The log-potential of each, all in one call of the verifier."""
        if not particles:
            return []
        scores = await judge(self.verifier, [p.branch.candidate(p.answer()) for p in particles])
        return [self._log(self._reward(s, p)) for s, p in zip(scores, particles, strict=True)]

    def _reward(self, score: Score, particle: Particle) -> float:
        if self.over == "value" or (score.value == -math.inf and not score.steps):
            return score.value
        num_steps = 1 if particle.finish else len(particle.ends)  # the last step may be no more than the end
        steps = score.steps if particle.finish else score.steps[:num_steps]
        if any(map(math.isnan, steps)):
            raise Misuse(f"{self.verifier!r} gave {score!r}: a step's score is not a number")
        if len(steps) < num_steps:
            raise BadInput(
                f"{self.verifier!r} scored {len(steps)} steps of a text with {len(particle.ends)}: use "
                "over='value', or cut steps where it does"
            )
        return STEPS[self.over](steps)

    def _log(self, reward: float) -> float:
        if self.scale == "reward":
            if -math.inf < reward < 0:
                raise BadInput(
                    f"{self.verifier!r} gave the reward {reward}, below 0; use scale='log' for log-potentials"
                )
            reward = max(reward, self.floor)
            reward = math.log(reward) if reward > 0 else -math.inf
        if reward == math.inf:
            raise BadInput(f"{self.verifier!r} gave an infinite potential; potentials must be finite")
        return reward
