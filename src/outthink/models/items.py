"""What a plan consists of: rows of the batch against extents of the cache; integers only."""

from __future__ import annotations

from typing import NamedTuple


class Extent(NamedTuple):
    """Cache slots `[start, start + length)`."""

    start: int
    length: int


class Product(NamedTuple):
    """Rows `[first, last)` see all of `extents`."""

    first: int
    last: int
    extents: list[Extent]


class Causal(NamedTuple):
    """Row `first + i` sees slots `start .. start + i`; there are as many slots as rows."""

    first: int
    last: int
    start: int


class Box(NamedTuple):
    """Rows `[top, bottom)` of the batch see columns `[left, right)` of the item's extents."""

    top: int
    bottom: int
    left: int
    right: int


class Masked(NamedTuple):
    """Rows `[first, last)` against all of `extents`, open in the boxes only."""

    first: int
    last: int
    extents: list[Extent]
    boxes: list[Box]


class Fan(NamedTuple):
    """Row `rows[i]` sees the slots of `chains[i]`; nothing is shared."""

    rows: list[int]
    chains: list[list[Extent]]


Item = Product | Causal | Masked | Fan
