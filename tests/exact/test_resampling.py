"""Resampling schemes over weights alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outthink.core.rng import Chance, digest, systematic
from outthink.stats import logsumexp, normalise
from outthink.strategy._resampling import SCHEMES, WITHOUT_REPLACEMENT, anneal, resample, spread
from outthink.testing.enumerate import Oracle

LOGW = st.lists(st.floats(-2000, 0) | st.just(-math.inf), min_size=1, max_size=12).filter(
    lambda logw: max(logw) > -math.inf
)
NUMBERS = st.integers(1, 12)
UNEVEN = [-1.0, 0.3, -math.inf, -2.5, 0.1]


@given(LOGW, NUMBERS, st.floats(0.001, 0.999))
def test_systematic_counts_are_floor_or_ceiling(logw: list[float], n: int, point: float) -> None:
    counts = systematic(logw, n, point)
    assert sum(counts) == n
    for share, count in zip(normalise(logw), counts, strict=True):
        assert math.floor(n * share - 1e-9) <= count <= math.ceil(n * share + 1e-9)


@given(LOGW, NUMBERS, st.sampled_from(SCHEMES), st.integers(0, 2**63))
def test_every_scheme_keeps_to_its_numbers(logw: list[float], n: int, scheme: str, key: int) -> None:
    """n offspring of living parents; all weigh the mean, or without replacement nobody comes twice."""
    children = resample(scheme, logw, n, Chance(key))
    parents = [c.parent for c in children]
    assert all(logw[i] > -math.inf for i in parents)
    assert all(math.isfinite(c.logw) for c in children)
    if scheme in WITHOUT_REPLACEMENT:
        assert len(parents) == len(set(parents)) == min(n, sum(w > -math.inf for w in logw))
    else:
        assert len(parents) == n
        assert all(math.isclose(c.logw, logsumexp(logw) - math.log(n), abs_tol=1e-9) for c in children)
    if scheme != "gumbel":
        assert math.isclose(logsumexp(c.logw for c in children), logsumexp(logw), abs_tol=1e-9)


@given(LOGW, NUMBERS, st.integers(0, 2**63))
def test_residual_and_optimal_keep_what_is_certain(logw: list[float], n: int, key: int) -> None:
    counts = Counter(c.parent for c in resample("residual", logw, n, Chance(key)))
    assert all(counts[i] >= math.floor(n * share - 1e-6) for i, share in enumerate(normalise(logw)))
    kept = {c.parent: c.logw for c in resample("optimal", logw, n, Chance(key))}
    for i, share in enumerate(normalise(logw)):
        if share * n > 1 + 1e-9:  # above the mean weight is above the threshold
            assert kept[i] == pytest.approx(logw[i], abs=1e-9)


def expected(scheme: str, logw: Sequence[float], n: int, logq: Sequence[float] | None = None) -> list[float]:
    """The expected weight of each particle's offspring in all, by enumeration of the scheme's chance."""
    weights, script = [0.0] * len(logw), []
    while script is not None:
        oracle = Oracle(script)
        for child in resample(scheme, logw, n, oracle.chance(0, "resample"), logq):
            weights[child.parent] += oracle.probability * math.exp(child.logw)
        script = oracle.next_script()
    return weights


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s != "gumbel"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_offspring_weigh_in_expectation_what_their_parent_weighs(scheme: str, n: int) -> None:
    assert expected(scheme, UNEVEN, n) == pytest.approx([math.exp(w) for w in UNEVEN], abs=1e-12)


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s not in WITHOUT_REPLACEMENT])
def test_drawing_from_something_else_is_paid_by_the_weights(scheme: str) -> None:
    found = expected(scheme, UNEVEN, 3, logq=anneal(UNEVEN, 0.99))
    assert found == pytest.approx([math.exp(w) for w in UNEVEN], abs=1e-12)


def test_gumbel_weights_are_unbiased_within_five_standard_errors() -> None:
    """Its noise has too many values to enumerate: 20,000 keys, fixed."""
    runs = 20_000
    sums, squares = [0.0] * len(UNEVEN), [0.0] * len(UNEVEN)
    for run in range(runs):
        for child in resample("gumbel", UNEVEN, 2, Chance(digest("gumbel", run))):
            sums[child.parent] += math.exp(child.logw)
            squares[child.parent] += math.exp(2 * child.logw)
    for i, w in enumerate(UNEVEN):
        mean = sums[i] / runs
        error = math.sqrt((squares[i] / runs - mean * mean) / runs)
        assert abs(mean - math.exp(w)) <= 5 * error
        assert error < 0.01


def test_the_schemes_differ_as_their_names_say() -> None:
    """Variance of the first offspring count: systematic least, multinomial n q (1 - q)."""
    logw = [math.log(p) for p in (0.4, 0.3, 0.2, 0.1)]

    def variance(scheme: str) -> float:
        counts = [
            sum(c.parent == 0 for c in resample(scheme, logw, 4, Chance(digest(scheme, run))))
            for run in range(4000)
        ]
        mean = sum(counts) / len(counts)
        return sum((c - mean) ** 2 for c in counts) / len(counts)

    assert variance("systematic") == pytest.approx(0.24, abs=0.02)  # 1.6 copies: 1 or 2
    assert variance("multinomial") == pytest.approx(4 * 0.4 * 0.6, abs=0.06)
    assert variance("systematic") < variance("residual") < variance("multinomial")
    assert variance("stratified") < variance("multinomial")


@given(LOGW, st.floats(0, 1))
def test_annealing_reaches_its_entropy_or_takes_all_alike(logw: list[float], least: float) -> None:
    annealed = anneal(logw, least)
    alive = sum(w > -math.inf for w in logw)
    most = math.log(alive) / math.log(len(logw)) if len(logw) > 1 else 1.0
    assert spread(annealed) >= min(least, most) - 1e-6
    assert [w == -math.inf for w in annealed] == [w == -math.inf for w in logw]
    order = sorted(range(len(logw)), key=lambda i: logw[i])
    assert all(annealed[i] <= annealed[j] for i, j in zip(order, order[1:], strict=False))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_beyond_the_range_of_exp_are_no_trouble(scheme: str) -> None:
    near = resample(scheme, UNEVEN, 3, Chance(1))
    far = resample(scheme, [w - 2000 for w in UNEVEN], 3, Chance(1))
    assert [c.parent for c in far] == [c.parent for c in near]
    assert [c.logw + 2000 for c in far] == pytest.approx([c.logw for c in near], abs=1e-9)
