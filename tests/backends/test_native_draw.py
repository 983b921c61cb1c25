"""Draws in C are the draws of decode/sample.py."""

from __future__ import annotations

import math
from random import Random

import pytest
import torch

from outthink.backends.native_draw import NativeDraw, is_plain
from outthink.core.jobs import Draw
from outthink.core.types import Sampling
from outthink.decode.sample import draw
from outthink.models.levels import _native

pytestmark = pytest.mark.skipif(_native is None, reason="the native extension is not built")
LEVELS = ("avx512", "avx2", "generic")


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    if request.param not in _native.levels():
        pytest.skip(f"this processor has no {request.param}")
    name: str = request.param
    return name


def work(
    seed: int, rows: int, vocab: int, sampling: Sampling, spread: float
) -> tuple[torch.Tensor, list[Draw]]:
    """Random rows with ties and tokens that are ruled out, and draws from some of them."""
    random = Random(seed)
    logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * spread
    logits[:, 1::7] = logits[:, 0:1]
    logits[:, 2::11] = -math.inf
    draws = [
        Draw(random.randrange(rows), random.getrandbits(64), random.getrandbits(20), sampling, ())
        for _ in range(3 * rows)
    ]
    return logits, draws


@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0, 500.0])
@pytest.mark.parametrize("vocab", [1, 5, 97, 1024, 5000])
@pytest.mark.parametrize("temperature", [0.0, 0.3, 0.8, 1.0, 7.0])
def test_tokens_are_those_of_torch(level: str, temperature: float, vocab: int, spread: float) -> None:
    sampling = Sampling(temperature=temperature)
    logits, draws = work(vocab, 40, vocab, sampling, spread)
    ours, theirs = NativeDraw(level)(logits, draws), draw(logits, draws)
    assert [d.token for d in ours] == [d.token for d in theirs]
    close = (
        2e-5 + 2e-7 * logits.abs().nan_to_num(posinf=0).max().item()
    )  # logsumexp rounds to the logits' size
    for a, b in zip(ours, theirs, strict=True):
        assert a.logprob == pytest.approx(b.logprob, abs=close) and a.stats == ()


def test_statistics_come_with_the_tokens(level: str) -> None:
    logits, draws = work(1, 9, 97, Sampling(stats=("entropy", "max")), 2.0)
    ours, theirs = NativeDraw(level)(logits, draws), draw(logits, draws)
    assert [(d.token, d.stats) for d in ours] == [(d.token, d.stats) for d in theirs]


@pytest.mark.parametrize(
    "sampling",
    [Sampling(top_k=3), Sampling(top_p=0.5), Sampling(min_p=0.2), Sampling(logit_bias=((4, 50.0),))],
)
def test_other_samplings_go_the_other_way(level: str, sampling: Sampling) -> None:
    assert not is_plain(sampling)
    logits, draws = work(2, 9, 97, sampling, 2.0)
    draws = [d._replace(states=(None,)) for d in draws] if sampling.logit_bias else draws
    assert NativeDraw(level)(logits, draws) == draw(logits, draws)


def test_a_draw_of_a_row_that_is_not_there_is_refused() -> None:
    logits, draws = work(3, 4, 9, Sampling(), 1.0)
    with pytest.raises(ValueError, match="row 4 of 4"):
        NativeDraw("generic")(logits, [draws[0]._replace(row=4)])


def test_bits_do_not_depend_on_what_else_is_drawn(level: str) -> None:
    """Beside draws of another Sampling, cut or not, and beside one that wants whole distributions."""
    others = [Sampling(temperature=0.8, max_tokens=9), Sampling(temperature=0.0), Sampling(top_p=0.5)]
    logits, draws = work(3, 30, 97, Sampling(temperature=0.8, stats=("entropy",)), 3.0)
    alone = [NativeDraw(level)(logits, [one])[0] for one in draws]
    assert NativeDraw(level)(logits, draws) == alone
    for seed, other in enumerate(others):
        mixed = [one if i % 3 else one._replace(sampling=other) for i, one in enumerate(draws)]
        found = NativeDraw(level)(logits, Random(seed).sample(mixed, len(mixed)) + mixed)[len(mixed) :]
        assert [f for i, f in enumerate(found) if i % 3] == [a for i, a in enumerate(alone) if i % 3]
    whole = [one._replace(is_whole=i == 4) for i, one in enumerate(draws)]
    assert [d._replace(rows=None) for d in NativeDraw(level)(logits, whole)] == alone
    assert NativeDraw(level)(logits, whole)[4].rows is not None
