"""The likeliest tokens of rows of logits in C: those of a sort, with the log-probabilities of a softmax."""

from __future__ import annotations

import math

import pytest
import torch

from outthink.backends.native_draw import NativeDraw
from outthink.core.jobs import Read
from outthink.core.types import Want
from outthink.decode.statistics import read
from outthink.models import _native
from outthink.models.native import likeliest

LEVELS = _native.levels()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("vocab", [1, 3, 16, 97, 2048])
@pytest.mark.parametrize("count", [1, 2, 10, 64])
def test_they_are_those_of_a_sort(level: str, vocab: int, count: int) -> None:
    random = torch.Generator().manual_seed(vocab + count)
    logits = torch.randn(5, vocab, generator=random) * 4
    logits[1] = logits[1].round()  # many are equal: of those the first ones
    logits[2, 1::2] = -math.inf
    logits[3] = torch.arange(vocab) / 8  # each is likelier than all before it
    logits[4] = -logits[3]
    which = [4, 1, 2, 3, 0, 1]
    found = likeliest(level, logits, count, which)
    for row, tops in zip(which, found, strict=True):
        exact = logits[row].double().log_softmax(-1).tolist()
        order = sorted(range(vocab), key=lambda v: (-float(logits[row, v]), v))[:count]
        assert [token for token, _ in tops] == order
        assert [logp for _, logp in tops] == pytest.approx([exact[v] for v in order], abs=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_a_row_says_the_same_whatever_is_read_beside_it(level: str) -> None:
    logits = torch.randn(6, 300, generator=torch.Generator().manual_seed(1))
    together = likeliest(level, logits, 7, list(range(6)))
    assert together == [likeliest(level, logits[i : i + 1], 7, [0])[0] for i in range(6)]
    assert together == likeliest(level, torch.cat([logits, logits], 1)[:, :300], 7, list(range(6)))


def test_what_it_cannot_read_is_refused() -> None:
    logits = torch.zeros(2, 9)
    for count, which, word in (
        (0, [0], "1 to 64"),
        (65, [0], "1 to 64"),
        (2, [2], "row 2 of 2"),
        (2, [-1], "-1"),
    ):
        with pytest.raises(ValueError, match=word):
            likeliest(LEVELS[0], logits if count < 65 else torch.zeros(2, 99), count, which)


def test_other_reads_in_between_are_those_of_torch() -> None:
    wants = [
        Want(top=3),
        Want(token=5),
        Want(top=2, stats=("entropy",)),
        Want(top=65),
        Want(row=True),
        Want(top=1),
    ]
    logits = torch.randn(6, 80, generator=torch.Generator().manual_seed(2))
    reads = [Read(5 - i, want) for i, want in enumerate(wants)]
    ours, theirs = NativeDraw(LEVELS[0]).read(logits, reads), read(logits, reads)
    for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert [token for token, _ in one.top] == [token for token, _ in other.top]
        assert [logp for _, logp in one.top] == pytest.approx([logp for _, logp in other.top], abs=1e-5)
        assert (one.logprob, one.stats, one.row) == (other.logprob, other.stats, other.row), i
