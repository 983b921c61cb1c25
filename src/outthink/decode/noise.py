"""Gumbel noise for many items at once: the same numbers as core/rng.py, in numpy on a CPU and in torch on a
GPU.

numpy has 32-bit unsigned arithmetic and a tenth of torch's cost per call; torch has devices. In torch a
logical shift right is an arithmetic one and a mask, and int32 multiplication wraps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from outthink.core import rng

Words = NDArray[np.uint32]


def _signed(x: int) -> int:
    return x - 2**32 if x >= 2**31 else x


_C1, _C2 = np.uint32(rng.C1), np.uint32(rng.C2)
SPARSE = 8192  # entries from which noise is computed only where it matters
RARE = 8.0  # noise that one token in 3000 has
_RARE_BITS = np.uint32(math.exp(-math.exp(-RARE)) * 2**32 - 2)  # noise of fewer bits is below RARE
FEW = 8  # rows; below it Python is faster than numpy's calls
_S15, _S16 = np.uint32(15), np.uint32(16)


@lru_cache(maxsize=8)
def _item_words(vocab: int) -> Words:
    """[vocab]: rng.item_word of every token."""
    return np.array([rng.item_word(i) for i in range(vocab)], dtype=np.uint32)


@lru_cache(maxsize=8)
def _item_words_on(vocab: int, device: str) -> torch.Tensor:
    return torch.from_numpy(_item_words(vocab).view(np.int32)).to(device)


def _row_words(keys: Sequence[int], indices: Sequence[int]) -> tuple[Words, Words]:
    """Two [rows, 1] arrays: rng.row_words of every row."""
    if len(keys) < FEW:
        words = np.array([rng.row_words(k, i) for k, i in zip(keys, indices, strict=True)], dtype=np.uint32)
        return words[:, :1], words[:, 1:]
    key = np.array(keys, dtype=np.uint64)
    index = np.array(indices, dtype=np.uint64)
    golden, c1 = np.uint64(rng.GOLDEN), np.uint64(rng.C1)
    a = _mix(key.astype(np.uint32) ^ _mix((index + golden).astype(np.uint32)))
    b = _mix((key >> np.uint64(32)).astype(np.uint32) ^ _mix((index * golden + c1).astype(np.uint32)))
    return a[:, None], b[:, None]


def _mix(x: Words) -> Words:
    """rng.mix, in place."""
    x ^= x >> _S16
    x *= _C1
    x ^= x >> _S15
    x *= _C2
    x ^= x >> _S15
    return x


def _bits(x: Words, b: Words) -> Words:
    x ^= x >> _S16
    x *= _C1
    x ^= b
    x ^= x >> _S15
    x *= _C2
    x ^= x >> _S15
    return x


def _gumbel(bits: Words) -> NDArray[np.float32]:
    u = bits.astype(np.float64)
    u += 0.5
    u *= 2.0**-32
    np.log(u, out=u)
    np.negative(u, out=u)
    np.log(u, out=u)
    np.negative(u, out=u)
    return u.astype(np.float32)


def argmax(scores: NDArray[Any], keys: Sequence[int], indices: Sequence[int]) -> NDArray[np.intp]:
    """argmax over v of scores[r, v] + rng.gumbel(keys[r], indices[r], v), for every row.

    With many entries noise is computed for those alone that could win: the likeliest token's sum is a bound,
    and who is RARE + 1 below it needs noise above RARE, which few have.
    """
    if scores.size < SPARSE:
        return (scores + dense(keys, indices, scores.shape[1])).argmax(-1)
    a, b = _row_words(keys, indices)
    bits = _bits(_item_words(scores.shape[1]) + a, b)
    rows, best = np.arange(len(scores)), scores.argmax(-1)
    bound = scores[rows, best] + _gumbel(bits[rows, best])
    could_win = scores >= (bound - (RARE + 1))[:, None]
    could_win |= bits >= _RARE_BITS
    places = np.flatnonzero(could_win)
    noisy = np.full(scores.shape, -np.inf, scores.dtype)
    noisy.ravel()[places] = scores.ravel()[places] + _gumbel(bits.ravel()[places])
    return noisy.argmax(-1)


def dense(keys: Sequence[int], indices: Sequence[int], vocab: int) -> NDArray[np.float32]:
    """[rows, vocab] noise: entry (r, v) is rng.gumbel(keys[r], indices[r], v)."""
    a, b = _row_words(keys, indices)
    return _gumbel(_bits(_item_words(vocab) + a, b))


def rows(keys: Sequence[int], indices: Sequence[int], vocab: int, device: str = "cpu") -> torch.Tensor:
    """The same as a tensor."""
    if device == "cpu":
        return torch.from_numpy(dense(keys, indices, vocab))
    a, b = _row_words(keys, indices)
    words = [torch.from_numpy(w.view(np.int32)).to(device) for w in (a, b)]
    return _gumbel_on(_item_words_on(vocab, device) + words[0], words[1])


def entries(
    keys: Sequence[int], indices: Sequence[int], row: torch.Tensor, item: torch.Tensor, vocab: int
) -> torch.Tensor:
    """[n] float32 noise of the given (row, item) pairs only."""
    a, b = _row_words(keys, indices)
    if row.device.type == "cpu":
        r, i = row.numpy(), item.numpy()
        return torch.from_numpy(_gumbel(_bits(_item_words(vocab)[i] + a[r, 0], b[r, 0])))
    device = str(row.device)
    words = [torch.from_numpy(w.view(np.int32)).to(device)[:, 0][row] for w in (a, b)]
    return _gumbel_on(_item_words_on(vocab, device)[item] + words[0], words[1])


def _shift(x: torch.Tensor, n: int) -> torch.Tensor:
    return (x >> n) & ((1 << (32 - n)) - 1)


def _gumbel_on(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The same in torch: int32 words in, float32 noise out."""
    x = ((x ^ _shift(x, 16)) * _signed(rng.C1)) ^ b
    x = (x ^ _shift(x, 15)) * _signed(rng.C2)
    x = x ^ _shift(x, 15)
    u = x.to(torch.float64)
    u = torch.where(u < 0, u + 2.0**32, u).add_(0.5).mul_(2.0**-32)
    return u.log_().neg_().log_().neg_().to(torch.float32)
