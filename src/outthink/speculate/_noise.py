"""The target's own noise, for drafters that keep probabilities.

The target draws argmax of log p + gumbel. Written with e = -log(uniform), exponential and the same for every
drafter, that is the token with the largest p / e. A drafter that estimates p knows e:

    P(the rest of the vocabulary, of probability r, does not beat token v)  =  exp(-r e_v / p_v)

so one guess that would be right with probability p by itself is known to be right or wrong far better. Only
where the accept rule draws by this noise may drafts know it (`Studio.shares_noise`).
"""

from __future__ import annotations

import math
from functools import cache

from outthink.core import rng
from outthink.core.drafting import Studio, Tip

KEPT = 256  # positions
SHARPNESS = 1.5  # how far the order of p / e is believed; estimates of p are not exact


class Noise:
    """e of each position and token of one stretch of writing, kept for a while once computed."""

    __slots__ = ("key", "rows")

    def __init__(self, key: int) -> None:
        self.key = key
        self.rows: dict[int, tuple[tuple[int, int], dict[int, float]]] = {}

    def __call__(self, position: int, token: int) -> float:
        row = self.rows.get(position)
        if row is None:
            if len(self.rows) >= KEPT:  # places that were passed long ago; any that is not is made again
                self.rows.clear()
            row = self.rows[position] = (rng.row_words(self.key, position), {})
        e = row[1].get(token)
        if e is None:
            e = row[1][token] = -math.log((rng.bits_of(row[0], _word(token)) + 0.5) / 2**32)
        return e


_word = cache(rng.item_word)


def noise_of(tip: Tip, studio: Studio) -> Noise | None:
    """The noise that the target's tokens are drawn with, where there is any and a draft may know it."""
    return Noise(tip.key) if studio.shares_noise and tip.sampling.temperature > 0 else None


def informed(likely: list[tuple[int, float]], noise: Noise | None, position: int) -> list[tuple[int, float]]:
    """(token, probability), likeliest first, once the noise at `position` is known.

    Among the tokens listed, p / e says which wins, as sharply as estimates of p allow.
    """
    if noise is None:
        return likely
    if len(likely) == 1:
        token, p = likely[0]
        return [(token, math.exp((p - 1.0) * noise(position, token) / p))]
    found = []
    rest, total = 1.0, 0.0
    for token, p in likely:
        e = noise(position, token)
        weight = (p / e) ** SHARPNESS
        total += weight
        rest -= p
        found.append((weight, e / p, token))
    found.sort(reverse=True)
    rest = max(rest, 0.0)
    return [(token, weight / total * math.exp(-rest * wait)) for weight, wait, token in found]
