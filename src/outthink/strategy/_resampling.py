"""Resampling: from a weighted population to one that is as good an estimate, with the weights evened out.

Every scheme is proper: the expected weight that the offspring of particle i have in all is the weight of i.
Weights are logarithms, and not normalised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from outthink.core.rng import Chance
from outthink.stats import logsumexp, normalise

WITHOUT_REPLACEMENT = ("optimal", "gumbel")
SCHEMES = ("systematic", "stratified", "multinomial", "residual", *WITHOUT_REPLACEMENT)


class Child(NamedTuple):
    """An offspring: which particle it copies, and its log-weight."""

    parent: int
    logw: float


BEYOND = 700.0  # exp of more than this is too large for a float, and 1 - exp(-exp(it)) is 1


def resample(
    scheme: str, logw: Sequence[float], n: int, chance: Chance, logq: Sequence[float] | None = None
) -> list[Child]:
    """n offspring, or with the schemes without replacement at most n.

    With replacement, parents are drawn in proportion to q (the weights, if not given), and an offspring of i
    gets w_i / (n q_i): with q = w the mean weight, the same for all.
    """
    if scheme in WITHOUT_REPLACEMENT:
        return optimal(logw, n, chance) if scheme == "optimal" else gumbel(logw, n, chance)
    logq = logw if logq is None else logq
    total = logsumexp(logq)
    counts = offspring(scheme, logq, n, chance)
    reset = [w - math.log(n) - (q - total) if c else 0.0 for w, q, c in zip(logw, logq, counts, strict=True)]
    return [Child(i, reset[i]) for i, count in enumerate(counts) for _ in range(count)]


def offspring(scheme: str, logq: Sequence[float], n: int, chance: Chance) -> list[int]:
    """How often each is copied; in expectation n times its share of exp(logq)."""
    if scheme == "systematic":
        return chance.allot(logq, n)
    if scheme == "stratified":
        return _stratified(logq, n, chance)
    if scheme == "multinomial":
        return _counts([chance.draw(logq, index=k) for k in range(n)], len(logq))
    if scheme == "residual":
        return _residual(logq, n, chance)
    raise ValueError(f"no resampling scheme {scheme!r}; there are: {', '.join(SCHEMES)}")


def _counts(drawn: Sequence[int], size: int) -> list[int]:
    counts = [0] * size
    for i in drawn:
        counts[i] += 1
    return counts


def _stratified(logq: Sequence[float], n: int, chance: Chance) -> list[int]:
    """One point in each stratum [k/n, (k+1)/n) of the cumulated shares, independently."""
    edges = [0.0]
    for share in normalise(logq):
        edges.append(edges[-1] + share * n)
    drawn = []
    for k in range(n):
        overlaps = [min(high, k + 1) - max(low, k) for low, high in zip(edges, edges[1:], strict=False)]
        if max(overlaps) <= 0:  # rounding left nothing of the last stratum
            overlaps[max(range(len(logq)), key=logq.__getitem__)] = 1.0
        drawn.append(chance.draw([math.log(o) if o > 0 else -math.inf for o in overlaps], index=k))
    return _counts(drawn, len(logq))


def _residual(logq: Sequence[float], n: int, chance: Chance) -> list[int]:
    """The whole part of n times each share for certain; the rest drawn by what is left over."""
    wanted = [share * n for share in normalise(logq)]
    counts = [math.floor(w + 1e-9) for w in wanted]  # a share of 1/n is one copy, whatever its last bit
    rest = [w - c for w, c in zip(wanted, counts, strict=True)]
    logs = [math.log(r) if r > 1e-9 else -math.inf for r in rest]
    for k in range(n - sum(counts)):
        counts[chance.draw(logs, index=k)] += 1
    return counts


def optimal(logw: Sequence[float], n: int, chance: Chance) -> list[Child]:
    """Keep each at most once, weights w_i or c (Fearnhead and Clifford's optimal resampling).

    c solves sum_i min(w_i / c, 1) = n. What weighs c or more stays as it is; of the others each stays with
    probability w_i / c, drawn systematically, and then weighs c. The least variance that keeping n unbiased
    can have.
    """
    alive = [i for i, w in enumerate(logw) if w > -math.inf]
    if len(alive) <= n:
        return [Child(i, logw[i]) for i in alive]
    heavy, log_c = _threshold(sorted(alive, key=lambda i: -logw[i]), logw, n)
    light = [i for i in alive if i not in heavy]
    kept = chance.allot([logw[i] for i in light], n - len(heavy))
    chosen = [i for i, count in zip(light, kept, strict=True) if count]
    return [Child(i, logw[i]) for i in sorted(heavy)] + [Child(i, log_c) for i in chosen]


def _threshold(ranked: Sequence[int], logw: Sequence[float], n: int) -> tuple[set[int], float]:
    """Those that weigh more than c, and log c; `ranked` is heaviest first."""
    for k in range(n):
        log_c = logsumexp(logw[i] for i in ranked[k:]) - math.log(n - k)
        if logw[ranked[k]] <= log_c:
            return set(ranked[:k]), log_c
    raise AssertionError("no threshold: fewer particles than places")  # the last k always fits


def gumbel(logw: Sequence[float], n: int, chance: Chance) -> list[Child]:
    """Keep the n largest of log w_i + Gumbel noise, as in sampling without replacement.

    One kept weighs w_i / P(log p_i + noise > kappa), where p are the shares and kappa is the largest that was
    not kept. Kool, van Hoof and Welling, "Stochastic Beams and Where to Find Them", arXiv 1903.06059.
    """
    alive = [i for i, w in enumerate(logw) if w > -math.inf]
    if len(alive) <= n:
        return [Child(i, logw[i]) for i in alive]
    total = logsumexp(logw)
    noisy = {i: logw[i] - total - math.log(-math.log(chance.uniform(item=i))) for i in alive}
    *kept, first_lost = sorted(alive, key=lambda i: -noisy[i])[: n + 1]
    kappa = noisy[first_lost]
    stays = {i: -math.expm1(-math.exp(min(logw[i] - total - kappa, BEYOND))) for i in kept}
    return [Child(i, logw[i] - math.log(stays[i])) for i in sorted(kept)]


def anneal(logw: Sequence[float], least: float) -> list[float]:
    """beta * logw with the largest beta in [0, 1] whose shares have a normalised entropy of `least` or more.

    The normalised entropy of shares q over N is -sum q log q / log N: 0 for one that has everything, 1 for
    equal shares. Where even beta = 0 stays below (some weigh nothing), it is 0: all that weigh count alike.
    """
    if spread(logw) >= least:
        return list(logw)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if spread(_power(logw, middle)) >= least else (low, middle)
    return _power(logw, low)


def _power(logw: Sequence[float], beta: float) -> list[float]:
    top = max(logw)
    return [beta * (w - top) if w > -math.inf else w for w in logw]


def spread(logw: Sequence[float]) -> float:
    """The normalised entropy of the shares; 1 for a single particle."""
    if len(logw) < 2:
        return 1.0
    return -sum(q * math.log(q) for q in normalise(logw) if q > 0) / math.log(len(logw))
