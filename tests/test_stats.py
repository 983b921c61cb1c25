"""Statistics against scipy, enumeration and their own laws."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import comb, exp, inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy import stats as reference

from outthink.stats import (
    effective_sample_size,
    log_mean_exp,
    logsumexp,
    maj_at_k,
    normalise,
    paired_bootstrap,
    pass_at_k,
    wilson,
)

LOGW = st.lists(st.floats(-2000, 2000), min_size=1, max_size=20)


@given(LOGW)
def test_logsumexp_is_scipys(logw: list[float]) -> None:
    assert logsumexp(logw) == pytest.approx(special.logsumexp(logw), abs=1e-9)
    assert log_mean_exp(logw) == pytest.approx(special.logsumexp(logw) - log(len(logw)), abs=1e-9)
    assert normalise(logw) == pytest.approx(special.softmax(logw), abs=1e-12)
    assert sum(normalise(logw)) == pytest.approx(1.0, abs=1e-12)


def test_tiny_weights_are_not_lost() -> None:
    assert logsumexp([-2000.0, -2000.0]) == pytest.approx(-2000 + log(2))
    assert normalise([-2000.0, -2000.0 + log(3)]) == pytest.approx([0.25, 0.75])
    assert effective_sample_size([-2000.0] * 7) == pytest.approx(7)
    assert effective_sample_size([2000.0] * 7) == pytest.approx(7)


def test_weights_of_zero() -> None:
    assert logsumexp([-inf, -inf]) == -inf
    assert logsumexp([-inf, 0.0]) == 0.0
    assert normalise([-inf, -5.0]) == [0.0, 1.0]
    assert effective_sample_size([-inf, -5.0]) == 1.0
    assert effective_sample_size([-inf, -inf]) == 0.0
    with pytest.raises(ValueError, match="above zero"):
        normalise([-inf, -inf])


@given(LOGW, st.floats(-1000, 1000))
def test_effective_sample_size_is_between_one_and_all_and_ignores_scale(logw: list[float], by: float) -> None:
    size = effective_sample_size(logw)
    assert 1 - 1e-9 <= size <= len(logw) + 1e-9
    assert effective_sample_size([v + by for v in logw]) == pytest.approx(size, rel=1e-6)


@pytest.mark.parametrize("function", [logsumexp, log_mean_exp, normalise, effective_sample_size])
def test_nothing_of_nothing(function: object) -> None:
    with pytest.raises(ValueError, match="no values"):
        function([])  # type: ignore[operator]


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 7), (1, 1000), (420, 1319), (1, 1)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    expected = reference.binomtest(k, n).proportion_ci(0.95, method="wilson")
    z = reference.norm.ppf(0.975)
    assert tuple(wilson(k, n, z)) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_of_no_proportion(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(k, n)


def test_paired_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        a = rng.random(80) < 0.6
        b = np.where(rng.random(80) < 0.5, a, rng.random(80) < 0.4)
        found = paired_bootstrap(
            a.astype(float).tolist(), b.astype(float).tolist(), seed=trial, resamples=300
        )
        hits += found.low <= 0.1 <= found.high
    assert reference.binomtest(hits, 200, 0.95).pvalue > 1e-4


def test_paired_bootstrap_is_decided_by_its_seed_and_uses_the_pairs() -> None:
    a, b = [1.0, 0.0, 1.0, 1.0] * 20, [0.0, 0.0, 1.0, 1.0] * 20
    runs = [paired_bootstrap(a, b, seed, resamples=40) for seed in (3, 3, 4, 5)]
    assert runs[0] == runs[1]
    assert len(set(runs)) > 1
    assert paired_bootstrap(a, b).difference == pytest.approx(0.25)
    assert paired_bootstrap(a, a) == (0.0, 0.0, 0.0)  # unpaired, the interval would not be a point
    with pytest.raises(ValueError, match="no pairs"):
        paired_bootstrap([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="no pairs"):
        paired_bootstrap([], [])


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_what_enumeration_gives(numbers: tuple[int, int, int]) -> None:
    n, c, k = numbers
    hits = sum(min(subset) < c for subset in combinations(range(n), k))
    assert pass_at_k(n, c, k) == pytest.approx(hits / comb(n, k))


@pytest.mark.parametrize("numbers", [(5, 6, 1), (5, -1, 1), (5, 2, 0), (5, 2, 6), (0, 0, 1)])
def test_pass_at_k_of_too_few(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="can be drawn"):
        pass_at_k(*numbers)


def _enumerated_majority(labels: list[int | None], right: int, k: int) -> float:
    credit = 0.0
    for subset in combinations(labels, k):
        votes = Counter(label for label in subset if label is not None)
        level = [label for label in votes if votes[label] == max(votes.values())]
        credit += (right in level) / max(len(level), 1)
    return credit / comb(len(labels), k)


@given(st.lists(st.sampled_from([0, 0, 1, 1, 2, 3, None]), min_size=1, max_size=9), st.data())
def test_maj_at_k_is_what_enumeration_gives(labels: list[int | None], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(labels)))
    right = data.draw(st.integers(0, 3))
    assert maj_at_k(labels, right, k) == pytest.approx((_enumerated_majority(labels, right, k), 0.0))


def test_maj_at_k_does_not_look_at_the_order() -> None:
    labels: list[int | None] = [0] * 5 + [1] * 5 + [2, None, None]
    assert maj_at_k(labels, 0, 6) == maj_at_k(labels[::-1], 0, 6) == maj_at_k(labels, 1, 6)


def test_votes_that_cannot_win() -> None:
    assert maj_at_k([1, 1, 2], None, 2) == (0.0, 0.0)
    assert maj_at_k([None, None], 0, 2) == (0.0, 0.0)
    assert maj_at_k([0, 1], 0, 2) == (0.5, 0.0)  # the tie is split
    assert maj_at_k([0, None], 0, 2) == (1.0, 0.0)  # silence does not vote
    with pytest.raises(ValueError, match="drawn"):
        maj_at_k([0], 0, 2)


def test_drawn_subsets_agree_with_the_exact_count_within_the_stated_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels: list[int | None] = [0] * 12 + [1] * 10 + list(range(2, 20)) + [None] * 4
    exact = maj_at_k(labels, 0, 16)
    assert exact.error == 0.0
    monkeypatch.setattr("outthink.stats._work", lambda *_: 10**9)
    drawn = maj_at_k(labels, 0, 16, seed=5, draws=4000)
    assert 0 < drawn.error < 0.01
    assert abs(drawn.value - exact.value) < 4 * drawn.error
    assert drawn == maj_at_k(labels, 0, 16, seed=5, draws=4000)


def test_large_votes_are_drawn_and_still_end() -> None:
    labels: list[int | None] = [0, 0, *(i % 400 for i in range(2000))]
    drawn = maj_at_k(labels, 0, 1000, draws=50)
    assert 0 < drawn.value < 1
    assert drawn.error > 0


def test_majority_of_one_is_the_share_of_right_samples() -> None:
    assert maj_at_k([0, 0, 1, None], 0, 1).value == pytest.approx(0.5)
    assert exp(logsumexp([log(0.25), log(0.25)])) == pytest.approx(maj_at_k([0, 0, 1, None], 0, 1).value)
