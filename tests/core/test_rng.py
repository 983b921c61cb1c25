"""Keyed chance: pure, disjoint by key, and distributed as it says."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from outthink.core import rng
from outthink.core.jobs import Draw
from outthink.core.types import Sampling
from outthink.decode import noise
from outthink.decode.sample import draw, warp

KEYS = [rng.purpose(rng.child(rng.key(s), k), "token") for s in range(8) for k in range(8)]


def test_golden_numbers() -> None:
    """The numbers are part of the format: a change here changes every answer."""
    assert rng.key(0) == rng.digest("outthink", 0, "")
    assert [rng.bits(12345, 7, item) for item in range(3)] == GOLDEN
    assert rng.gumbel(12345, 7, 0) == pytest.approx(-math.log(-math.log((GOLDEN[0] + 0.5) / 2**32)), abs=1e-6)


GOLDEN = [3018761655, 1119442767, 102159268]


def test_torch_numpy_and_python_give_the_same_numbers() -> None:
    indices = list(range(len(KEYS)))
    fast = noise.rows(KEYS, indices, 300)
    a, b = noise._row_words(KEYS, indices)
    words = torch.from_numpy(a.view(np.int32)), torch.from_numpy(b.view(np.int32))
    on_device = noise._gumbel_on(noise._item_words_on(300, "cpu") + words[0], words[1])
    assert torch.equal(fast, on_device)
    for row, item in itertools.product(range(0, 64, 9), range(0, 300, 17)):
        assert fast[row, item].item() == rng.gumbel(KEYS[row], row, item)
    far = [10**6 + i for i in range(3)]
    assert torch.equal(noise.rows(KEYS[:3], far, 9), noise.rows(KEYS, far + indices[3:], 9)[:3])
    row, item = (fast > 1).nonzero(as_tuple=True)
    assert torch.equal(noise.entries(KEYS, indices, row, item, 300), fast[row, item])
    few = noise.FEW - 1
    assert torch.equal(noise.rows(KEYS[:few], indices[:few], 300), fast[:few])


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 30.0])
def test_noise_only_where_it_matters_draws_the_same(spread: float) -> None:
    indices = list(range(len(KEYS)))
    scores = np.random.default_rng(3).normal(size=(len(KEYS), 1024)).astype(np.float32) * np.float32(spread)
    scores[:, ::7] = -np.inf
    assert scores.size >= noise.SPARSE
    for shift in range(20):
        moved = [i + 100 * shift for i in indices]
        everywhere = (scores + noise.dense(KEYS, moved, 1024)).argmax(-1)
        assert (noise.argmax(scores, KEYS, moved) == everywhere).all()
    assert (noise._gumbel(np.array([noise._RARE_BITS - 1], dtype=np.uint32)) < noise.RARE).all()


@pytest.mark.parametrize("axis", ["key", "index", "item"])
def test_uniform_along_every_axis(axis: str) -> None:
    n = 20000
    base = rng.purpose(rng.key(1), "token")
    values = {
        "key": [rng.uniform(rng.child(base, i), 3, 5) for i in range(n)],
        "index": [rng.uniform(base, i, 5) for i in range(n)],
        "item": [rng.uniform(base, 3, i) for i in range(n)],
    }[axis]
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.03


def test_purposes_and_neighbouring_keys_are_independent() -> None:
    base = rng.key(2)
    a = [rng.uniform(rng.purpose(base, "token"), i) for i in range(5000)]
    for other in (
        rng.purpose(base, "draft"),
        rng.purpose(base, "token") ^ 1,
        rng.purpose(base, "token") ^ (1 << 40),
    ):
        b = [rng.uniform(other, i) for i in range(5000)]
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(temperature=1.0, top_k=3),
        Sampling(temperature=1.0, top_p=0.6),
        Sampling(temperature=1.3, min_p=0.2),
        Sampling(temperature=1.0, logit_bias=((0, -1.0), (3, 2.0))),
    ],
    ids=str,
)
@pytest.mark.parametrize("dense", [True, False])
def test_draws_follow_the_warped_distribution(
    sampling: Sampling, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chi-square of 20 000 draws against the exact truncated distribution, in both ways of making noise."""
    monkeypatch.setattr("outthink.decode.sample.DENSE", 10**6 if dense else 0)
    logits = torch.tensor([[1.0, 0.2, -0.5, 0.9, 2.0, -1.0]])
    states = (None,) if sampling.logit_bias else ()
    truth = warp(logits, sampling, [states])[0].double().softmax(-1)
    counts = torch.zeros(6)
    key = rng.purpose(rng.key(5), "token")
    for start in range(0, 20000, 500):
        draws = [Draw(i, key, start + i, sampling, states) for i in range(500)]
        for drawn in draw(logits.expand(500, -1), draws):
            counts[drawn.token] += 1
    alive = truth > 0
    assert counts[~alive].sum() == 0
    if alive.sum() > 1:
        assert stats.chisquare(counts[alive], truth[alive] * 20000).pvalue > 1e-3


def test_truncations_keep_exactly_what_they_should() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = lambda s: (warp(logits, s, [()])[0] > -math.inf).tolist()  # noqa: E731
    assert kept(Sampling(temperature=1.0, top_p=0.5)) == [True, False, False, False]
    assert kept(Sampling(temperature=1.0, top_p=0.51)) == [True, True, False, False]
    assert kept(Sampling(temperature=1.0, min_p=0.29)) == [True, True, True, False]
    assert kept(Sampling(temperature=1.0, top_k=1)) == [True, False, False, False]
    assert kept(Sampling(temperature=1.0, top_p=1e-9)) == [True, False, False, False]


def test_penalties_see_the_exact_prefix() -> None:
    from outthink.decode.penalties import Penalties

    penalty = Penalties(repetition=2.0, presence=0.5, frequency=0.25)
    state = penalty.start([1])
    for token in (2, 2):
        state = penalty.next(state, token)
    out = penalty(torch.tensor([[1.0, 1.0, -1.0, 1.0]]), [state])
    assert out[0].tolist() == [1.0, 0.5, -2.0 - 0.5 - 2 * 0.25, 1.0]


def test_systematic_resampling_keeps_counts_within_floor_and_ceiling() -> None:
    logw = [-2000.0, -2000.0 + math.log(2), -2001.5, -math.inf, -2000.3]
    shares = np.exp(np.array(logw) + 2000)
    shares = shares / shares.sum()
    total = np.zeros(5)
    for index in range(2000):
        counts = rng.Chance(rng.key(3)).allot(logw, 7, index)
        assert sum(counts) == 7
        assert all(math.floor(7 * s) <= c <= math.ceil(7 * s) for s, c in zip(shares, counts, strict=True))
        total += counts
    assert total / 2000 == pytest.approx(7 * shares, abs=0.05)


def test_subset_is_without_replacement_and_follows_the_weights() -> None:
    logw = [0.0, math.log(3), -math.inf, 0.0]
    first = [rng.Chance(rng.key(4)).subset(logw, 2, index) for index in range(4000)]
    assert all(len(set(s)) == 2 and 2 not in s for s in first)
    assert sum(s[0] == 1 for s in first) / 4000 == pytest.approx(0.6, abs=0.03)
    with pytest.raises(ValueError, match="3 have weight"):
        rng.Chance(1).subset(logw, 4)
