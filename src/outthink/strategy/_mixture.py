"""A mixture of two Weibull distributions: which of some probabilities belong to the likely ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

ROUNDS, STEPS = 30, 40  # at most: of expectation maximisation, of one fit
CLOSE = 1e-3  # a change that is none
SHAPES = (0.05, 50.0)  # a component that shrinks to one point is stopped here
TINY = 1e-300


class Weibull(NamedTuple):
    """density(x) = (k / s) (x / s)^(k - 1) exp(-(x / s)^k)"""

    shape: float
    scale: float

    @property
    def mean(self) -> float:
        return self.scale * math.gamma(1 + 1 / self.shape)

    def density(self, x: float) -> float:
        power = (x / self.scale) ** self.shape
        return self.shape / x * power * math.exp(-power) if power < 700 else 0.0


def fit(logs: Sequence[float], weights: Sequence[float]) -> Weibull:
    """The maximum-likelihood Weibull of weighted values, given as their logarithms, at most 0.

    The shape solves  sum w x^k log x / sum w x^k - 1/k = mean of log x,  whose left side grows with k:
    Newton's steps, kept inside the bracket.
    """
    total = math.fsum(weights)
    middle = math.fsum(w * v for w, v in zip(weights, logs, strict=True)) / total
    low, high = SHAPES
    shape = 1.0
    for _ in range(STEPS):
        powers = [w * math.exp(shape * v) for w, v in zip(weights, logs, strict=True)]
        mass = max(sum(powers), TINY)
        first = sum(p * v for p, v in zip(powers, logs, strict=True)) / mass
        second = sum(p * v * v for p, v in zip(powers, logs, strict=True)) / mass
        excess = first - 1 / shape - middle
        low, high = (low, shape) if excess > 0 else (shape, high)
        moved = shape - excess / max(second - first * first + 1 / shape**2, TINY)
        moved = moved if low < moved < high else math.sqrt(low * high)
        if abs(moved - shape) < CLOSE * shape:
            break
        shape = moved
    power = sum(w * math.exp(shape * v) for w, v in zip(weights, logs, strict=True)) / total
    return Weibull(shape, max(power, TINY) ** (1 / shape))


def likely(values: Sequence[float]) -> list[float]:
    """For each value in (0, 1], the probability that it comes from the higher of the two components.

    Expectation maximisation, begun with the halves below and above the median.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    share = [0.1] * len(values)
    for i in order[len(order) // 2 :]:
        share[i] = 0.9
    logs = [math.log(x) for x in values]
    for _ in range(ROUNDS):
        before = share
        rest = [1 - s for s in share]
        high, low = fit(logs, share), fit(logs, rest)
        if high.mean < low.mean:
            high, low, share, rest = low, high, rest, share
        part = math.fsum(share) / len(share)
        share = [_posterior(part * high.density(x), (1 - part) * low.density(x)) for x in values]
        if max(abs(a - b) for a, b in zip(share, before, strict=True)) < CLOSE:
            break
    return [min(max(s, 0.0), 1.0) for s in share]


def _posterior(high: float, low: float) -> float:
    """Kept off 0 and 1, so that no component loses everything."""
    return min(max(high / (high + low), 1e-6), 1 - 1e-6) if high + low > 0 else 0.5
