"""A mixture of two Weibull distributions: which of some probabilities belong to the likely ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

ROUNDS = 60
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


def fit(values: Sequence[float], weights: Sequence[float]) -> Weibull:
    """The maximum-likelihood Weibull of weighted values above 0.

    The shape solves sum w x^k log x / sum w x^k - 1/k = mean of log x, whose left side grows with k.
    """
    top, total = max(values), math.fsum(weights)
    logs = [math.log(x / top) for x in values]
    middle = math.fsum(w * v for w, v in zip(weights, logs, strict=True)) / total

    def excess(k: float) -> float:
        powers = [w * math.exp(k * v) for w, v in zip(weights, logs, strict=True)]
        mean = math.fsum(p * v for p, v in zip(powers, logs, strict=True)) / max(math.fsum(powers), TINY)
        return mean - 1 / k - middle

    shape = _root(excess, *SHAPES)
    power = math.fsum(w * math.exp(shape * v) for w, v in zip(weights, logs, strict=True)) / total
    return Weibull(shape, top * max(power, TINY) ** (1 / shape))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses zero, or the end that is nearest to it."""
    for _ in range(50):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return low


def likely(values: Sequence[float]) -> list[float]:
    """For each value in (0, 1], the probability that it comes from the higher of the two components.

    Expectation maximisation, begun with the halves below and above the median.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    share = [0.1] * len(values)
    for i in order[len(order) // 2 :]:
        share[i] = 0.9
    for _ in range(ROUNDS):
        rest = [1 - s for s in share]
        high, low = fit(values, share), fit(values, rest)
        if high.mean < low.mean:
            high, low, share, rest = low, high, rest, share
        part = math.fsum(share) / len(share)
        share = [_posterior(part * high.density(x), (1 - part) * low.density(x)) for x in values]
    return [min(max(s, 0.0), 1.0) for s in share]


def _posterior(high: float, low: float) -> float:
    """Kept off 0 and 1, so that no component loses everything."""
    return min(max(high / (high + low), 1e-6), 1 - 1e-6) if high + low > 0 else 0.5
