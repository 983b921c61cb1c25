"""The target's own noise, for drafters that keep probabilities.

The target draws argmax of log p + gumbel. Written with e = -log(uniform), exponential and the same for every
drafter, that is the token with the largest p / e. A drafter that estimates p knows e:

    P(the rest of the vocabulary, of probability r, does not beat token v)  =  exp(-r e_v / p_v)

so one guess that would be right with probability p by itself is known to be right or wrong far better. Only
where the accept rule draws by this noise may drafts know it (`Studio.shares_noise`).
"""

from __future__ import annotations

import math

from outthink.core import rng
from outthink.core.drafting import Studio, Tip

SHARPNESS = 1.5  # how far the order of p / e is believed; estimates of p are not exact


class Noise:
    """e of each position and token of one stretch of writing, kept once computed."""

    __slots__ = ("key", "known")

    def __init__(self, key: int) -> None:
        self.key = key
        self.known: dict[tuple[int, int], float] = {}

    def __call__(self, position: int, token: int) -> float:
        found = self.known.get((position, token))
        if found is None:
            found = self.known[position, token] = -math.log(rng.uniform(self.key, position, token))
        return found


def noise_of(tip: Tip, studio: Studio) -> Noise | None:
    """The noise that the target's tokens are drawn with, where there is any and a draft may know it."""
    return Noise(tip.key) if studio.shares_noise and tip.sampling.temperature > 0 else None


def informed(likely: list[tuple[int, float]], noise: Noise | None, position: int) -> list[tuple[int, float]]:
    """(token, probability) once the noise at `position` is known, likeliest first."""
    if noise is None:
        return likely
    rest = max(1.0 - sum(p for _, p in likely), 1e-4)
    found, total = [], 0.0
    for token, p in likely:
        e = noise(position, token)
        weight = (p / e) ** SHARPNESS
        total += weight
        found.append((token, weight * math.exp(-rest * e / p)))
    out = [(token, min(p / total, 0.999)) for token, p in found]
    out.sort(key=_probability, reverse=True)
    return out


def _probability(entry: tuple[int, float]) -> float:
    return entry[1]
