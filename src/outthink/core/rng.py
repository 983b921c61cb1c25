"""Keyed chance: every random number is a pure function of (seed, path, purpose, index, item).

    key(seed, model)            64 bits                     the root of a run
    child(key, k)               the key of the k-th child of a branch
    purpose(key, "token")       the key of one purpose on that branch; purposes are disjoint
    bits(key, index, item)      32 bits, the only source of numbers
    uniform                     (bits + 0.5) / 2**32, in (0, 1), exact in float64
    gumbel                      -log(-log(uniform)) in float64, rounded to float32

`decode/noise.py` computes the same numbers in torch for many items at once; a test holds the two together.
The mixing function is a multiply-xorshift hash of 32 bits with the key injected before and between its rounds
(the constants are those of lowbias32 by C. Wellons, found by search for low bias).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

MASK = 0xFFFFFFFF
C1, C2, GOLDEN = 0x21F0AAAD, 0xD35A2D97, 0x9E3779B1
FLOAT32 = struct.Struct("<f")
GUMBEL_MAX = -math.log(-math.log1p(-0.5 / 2**32))  # no noise is above this: 22.87
GUMBEL_MIN = -math.log(-math.log(0.5 / 2**32))  # none below: -3.12


def digest(*parts: object) -> int:
    """64 bits of a BLAKE2b hash over the reprs of `parts`."""
    text = "\x1f".join(repr(p) for p in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def key(seed: int, model: str = "") -> int:
    """The root key of a run. The model is part of it, so that two models are not coupled by accident."""
    return digest("outthink", int(seed), model)


def child(parent: int, k: int) -> int:
    """The key of the k-th child of a branch."""
    return _hash64(b"child", parent, k)


def purpose(branch: int, name: str) -> int:
    """The key of one purpose on a branch."""
    return _hash64(name.encode(), branch, 0)


def _hash64(tag: bytes, a: int, b: int) -> int:
    packed = struct.pack("<QQ", a & (2**64 - 1), b & (2**64 - 1))
    return int.from_bytes(hashlib.blake2b(packed + tag, digest_size=8).digest(), "little")


def mix(x: int) -> int:
    """lowbias32: a bijection of 32 bits."""
    x ^= x >> 16
    x = (x * C1) & MASK
    x ^= x >> 15
    x = (x * C2) & MASK
    return x ^ (x >> 15)


def row_words(key64: int, index: int) -> tuple[int, int]:
    """The two 32-bit words that stand for (key, index) in the hash of every item of a row."""
    low, high = key64 & MASK, key64 >> 32
    return mix(low ^ mix((index + GOLDEN) & MASK)), mix(high ^ mix((index * GOLDEN + C1) & MASK))


def item_word(item: int) -> int:
    """The 32-bit word that stands for an item; a constant of the vocabulary."""
    return mix((item * GOLDEN + C2) & MASK)


_word = lru_cache(maxsize=4096)(item_word)  # of populations: the same few again and again


def bits(key64: int, index: int, item: int) -> int:
    """32 random bits of (key, index, item)."""
    return bits_of(row_words(key64, index), item_word(item))


def bits_of(row: tuple[int, int], word: int) -> int:
    """`bits` from the words of a row and an item, for callers that keep these."""
    a, b = row
    x = (word + a) & MASK
    x ^= x >> 16
    x = (x * C1) & MASK
    x ^= b
    x ^= x >> 15
    x = (x * C2) & MASK
    return x ^ (x >> 15)


def uniform(key64: int, index: int, item: int = 0) -> float:
    """A number in (0, 1), exact in float64."""
    return (bits(key64, index, item) + 0.5) / 2**32


def gumbel(key64: int, index: int, item: int) -> float:
    """Standard Gumbel noise: the float64 formula, rounded to float32."""
    return _gumbel_of(bits(key64, index, item))


def _gumbel_of(drawn: int) -> float:
    value = -math.log(-math.log((drawn + 0.5) / 2**32))
    return float(FLOAT32.unpack(FLOAT32.pack(value))[0])


@dataclass(frozen=True, slots=True)
class Chance:
    """The five verbs of chance for a strategy: keyed by branch, purpose and a counter that the caller gives.

    Strategies write `branch.chance("resample").allot(logw, n, index=round)`; the same seed gives the same
    numbers.
    """

    key: int

    def uniform(self, index: int = 0, item: int = 0) -> float:
        """A number in (0, 1)."""
        return uniform(self.key, index, item)

    def flip(self, p: float, index: int = 0, item: int = 0) -> bool:
        """True with probability `p`."""
        return uniform(self.key, index, item) < p

    def draw(self, logw: Sequence[float], index: int = 0) -> int:
        """One item with probability proportional to exp(logw): argmax of logw + Gumbel noise."""
        return self.subset(logw, 1, index)[0]

    def subset(self, logw: Sequence[float], k: int, index: int = 0) -> list[int]:
        """k items without replacement (Gumbel top-k), best first. ValueError if fewer have weight."""
        alive = [i for i, w in enumerate(logw) if w > -math.inf]
        if len(alive) < k:
            raise ValueError(f"{k} items asked for, {len(alive)} have weight")
        row = row_words(self.key, index)
        noisy = {i: logw[i] + _gumbel_of(bits_of(row, _word(i))) for i in alive}
        if k == 1:
            return [max(alive, key=noisy.__getitem__)]
        return sorted(alive, key=lambda i: -noisy[i])[:k]

    def allot(self, logw: Sequence[float], n: int, index: int = 0) -> list[int]:
        """Systematic resampling: n offspring counts; each is the floor or the ceiling of n times its
        share."""
        return systematic(logw, n, uniform(self.key, index, 0))


def systematic(logw: Sequence[float], n: int, point: float) -> list[int]:
    """How many of the points (k + point) / n, k = 0 .. n - 1, fall on each item's share of exp(logw).

    `point` is in (0, 1). ValueError if nothing has weight.
    """
    top = max(logw, default=-math.inf)
    if top == -math.inf:
        raise ValueError("nothing has weight: the population is dead")
    weights = [math.exp(w - top) for w in logw]
    total = math.fsum(weights)
    counts, edge, taken = [], 0.0, 0
    for w in weights:
        edge += w * n / total
        upto = min(n, max(taken, math.floor(edge - point) + 1))
        counts.append(upto - taken)
        taken = upto
    counts[max(range(len(weights)), key=weights.__getitem__)] += n - taken  # rounding at the last edge
    return counts
