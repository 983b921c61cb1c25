"""Statistics of weights and of samples: the standard library only. Nothing of nothing is a ValueError."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from math import comb, exp, inf, isfinite, log, sqrt
from typing import NamedTuple


class Interval(NamedTuple):
    """From low to high, both included."""

    low: float
    high: float


class Difference(NamedTuple):
    """A difference of means with its confidence interval."""

    difference: float
    low: float
    high: float


class Estimate(NamedTuple):
    """A value and its standard error; the error of an exact value is 0."""

    value: float
    error: float


# ------------------------------------------------------------------------------------------------- weights


def logsumexp(values: Iterable[float]) -> float:
    """log sum exp(v), whatever the size of v: the largest is taken out first."""
    numbers = _some(values)
    top = max(numbers)
    if top in (inf, -inf):
        return top
    return top + log(sum(exp(v - top) for v in numbers))


def log_mean_exp(values: Iterable[float]) -> float:
    """log of the mean of exp(v): the estimate of a normalising constant from log-weights."""
    numbers = _some(values)
    return logsumexp(numbers) - log(len(numbers))


def normalise(logw: Iterable[float]) -> list[float]:
    """Probabilities in proportion to exp(logw); at least one weight must not be zero."""
    numbers = _some(logw)
    total = logsumexp(numbers)
    if not isfinite(total):
        raise ValueError("no weight is above zero" if total == -inf else f"log-weights sum to {total}")
    probs = [exp(v - total) for v in numbers]
    scale = sum(probs)  # 1 but for rounding
    return [p / scale for p in probs]


def effective_sample_size(logw: Iterable[float]) -> float:
    """(sum w)^2 / sum w^2: 1 if one weight has everything, all of them if equal, 0 if all are zero."""
    numbers = _some(logw)
    top = max(numbers)
    if top == -inf:
        return 0.0
    weights = [exp(v - top) for v in numbers]
    return sum(weights) ** 2 / sum(w * w for w in weights)


# ------------------------------------------------------------------------------------ intervals, differences


def wilson(k: float, n: int, z: float = 1.96) -> Interval:
    """Wilson's score interval for the probability behind k successes of n.

    k may be a sum of n values in [0, 1]: their spread is at most that of successes, so it is not too narrow.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)  with p = k/n
    """
    _check(0 <= k <= n and n > 0, f"{k} of {n} is no proportion")
    p = k / n
    middle = p + z * z / (2 * n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (middle - half) / scale, (middle + half) / scale
    return Interval(0.0 if k == 0 else low, 1.0 if k == n else high)


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> Difference:
    """Mean of a - b over the same problems, with its percentile bootstrap interval. The seed decides all."""
    _check(len(a) == len(b) > 0, f"{len(a)} and {len(b)} results are no pairs")
    _check(resamples > 0 and 0 < level < 1, f"{resamples} resamples at level {level} give no interval")
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    n = len(gaps)
    rng = random.Random(seed)
    means = sorted(sum(rng.choices(gaps, k=n)) / n for _ in range(resamples))
    cut = round((1 - level) / 2 * (resamples - 1))
    return Difference(sum(gaps) / n, means[cut], means[-1 - cut])


# ------------------------------------------------------------------------------------- k samples out of n


def pass_at_k(n: int, c: int, k: int) -> float:
    """How likely k samples, drawn from n of which c are right, have a right one: 1 - C(n-c, k) / C(n, k)."""
    _check(0 <= c <= n and 0 < k <= n, f"no {k} samples with {c} right can be drawn from {n}")
    return 1.0 - comb(n - c, k) / comb(n, k)


def best_at_k(scores: Sequence[float], right: Sequence[bool], k: int) -> float:
    """How often the highest-scored of k samples, drawn from these without replacement, is right; exact.

    Sum over score levels, highest first, of P(the best drawn is of this level) * (share of it that is right):
    samples level with one another share the credit.
    """
    n = len(scores)
    _check(len(right) == n and 0 < k <= n, f"no {k} samples can be drawn from {n} with {len(right)} verdicts")
    levels: dict[float, list[bool]] = {}
    for score, is_right in zip(scores, right, strict=True):
        levels.setdefault(score, []).append(is_right)
    credit, left = 0.0, n
    for score in sorted(levels, reverse=True):
        own = levels[score]
        share = (comb(left, k) - comb(left - len(own), k)) / comb(n, k)
        credit += share * sum(own) / len(own)
        left -= len(own)
    return credit


def maj_at_k(
    labels: Sequence[int | None], right: int | None, k: int, seed: int = 0, draws: int = 10_000
) -> Estimate:
    """How often the majority of k samples, drawn from these without replacement, is the right class.

    `labels` are classes of answers, None for a sample without an answer, which does not vote. A tie of t
    classes gives each 1/t. Exact by counting subsets, unless that is too much work: then the mean of `draws`.
    """
    exact = exact_maj_at_k(labels, right, k)
    if exact is not None:
        return Estimate(exact, 0.0)
    rng = random.Random(seed)
    credits = [_credit(rng.sample(labels, k), right) for _ in range(draws)]
    mean = sum(credits) / draws
    return Estimate(mean, sqrt(sum((c - mean) ** 2 for c in credits) / (draws - 1) / draws))


def exact_maj_at_k(labels: Sequence[int | None], right: int | None, k: int) -> float | None:
    """maj_at_k by counting subsets; None where that is too much work."""
    _check(0 < k <= len(labels), f"{k} samples cannot be drawn from {len(labels)}")
    counts = Counter(labels)
    silent = counts.pop(None, 0)
    own = counts.pop(right, 0) if right is not None else 0
    others = list(counts.values())
    if own == 0:
        return 0.0
    return _exact_majority(own, others, silent, k) if _work(own, others, k) <= 2_000_000 else None


def _work(own: int, others: Sequence[int], k: int) -> int:
    """About how many multiplications the exact count takes."""
    sizes = Counter(others)
    tops = range(1, min(own, k) + 1)
    return sum(num * (min(size, top) + 1) * k * (k // top + 1) for top in tops for size, num in sizes.items())


def _exact_majority(own: int, others: Sequence[int], silent: int, k: int) -> float:
    """Sum over the votes of the right class: subsets where no class has more, shared among those level."""
    credit = 0.0
    total = comb(own + sum(others) + silent, k)
    for top in range(1, min(own, k) + 1):
        # ways[t][m]: subsets of m samples, of the classes so far, where t of these have exactly `top` votes
        ways = {0: [comb(silent, m) for m in range(k - top + 1)]}
        for size in others:
            ways = _with_class(ways, size, top, k - top)
        shares = sum(counts[k - top] / (ties + 1) / total for ties, counts in ways.items())
        credit += comb(own, top) * shares
    return credit


def _with_class(ways: dict[int, list[int]], size: int, top: int, room: int) -> dict[int, list[int]]:
    """The same count when one more class, of that size, gives at most `top` votes."""
    result: dict[int, list[int]] = {}
    for ties, counts in ways.items():
        for votes in range(min(size, top, room) + 1):
            target = result.setdefault(ties + (votes == top), [0] * (room + 1))
            choices = comb(size, votes)
            for used in range(room + 1 - votes):
                if counts[used]:
                    target[used + votes] += choices * counts[used]
    return result


def _credit(labels: Sequence[int | None], right: int | None) -> float:
    counts = Counter(label for label in labels if label is not None)
    top = max(counts.values(), default=0)
    winners = [label for label, count in counts.items() if count == top]
    return 1 / len(winners) if right in winners else 0.0


def _some(values: Iterable[float]) -> list[float]:
    numbers = list(values)
    _check(bool(numbers), "no values are given")
    return numbers


def _check(is_valid: bool, message: str) -> None:
    if not is_valid:
        raise ValueError(message)
