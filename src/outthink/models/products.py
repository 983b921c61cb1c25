"""The products of which attention is made: rows against cache extents.

Queries come, and outputs go, as `[rows, group, kv_heads, head_dim]`: the query heads that share a key head
act as more rows, so grouped-query attention is an ordinary product with `rows * group` queries, and no
operation here copies queries or outputs. Projections order their rows and columns so once, at load.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch

from outthink.kv.store import Store
from outthink.models.items import Causal, Extent, Fan, Masked, Product

SHARED_CACHE = 24 << 20  # bytes; a cache that is read once a pass and exceeds this comes from memory
CORE_CACHE = 512 << 10  # bytes gathered at a time from such a cache

_flash_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class Part(NamedTuple):
    """What an item adds: `out` [n, group, kv_heads, head_dim], `lse` [n, group, kv_heads, 1]."""

    out: torch.Tensor
    lse: torch.Tensor


class BoundItem(Protocol):
    """An item of the plan with its index tensors, masks and cache views made; used once per layer."""

    def run(self, layer: int, query: torch.Tensor, scale: float | None) -> Part:
        """Attend with the item's rows of the queries of all rows."""
        ...


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention: queries [b, h, n, d], keys [b, h, s, d] -> out [b, h, n, d], logsumexp [b, h, n].

    `mask` is added to the scores; `causal` lets query i see keys 0..i.
    """
    if query.device.type == "cpu":
        return _flash_cpu(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
    return attend_plain(query, key, value, mask, causal, scale)


def attend_plain(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by matrix products, scores in float32 at least."""
    scores = torch.matmul(query, key.transpose(-1, -2))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    scores *= query.shape[-1] ** -0.5 if scale is None else scale
    if mask is not None:
        scores += mask
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores.masked_fill_(hidden, float("-inf"))
    lse = scores.logsumexp(-1)
    weights = (scores - lse.unsqueeze(-1)).exp_().to(value.dtype)
    return torch.matmul(weights, value), lse


class _Cells:
    """The cache rows of a list of extents, per layer: a view where there is one extent, else one copy."""

    def __init__(self, store: Store, extents: Sequence[Extent]) -> None:
        self.extents = extents
        self.data = store.layers
        if len(extents) == 1:
            start, length = extents[0]
            cells = store.data[:, start : start + length].permute(2, 0, 3, 1, 4).unsqueeze(2)
            self.keys, self.values = cells[0].unbind(0), cells[1].unbind(0)
        elif len(extents) > 4:
            slots = [slot for start, length in extents for slot in range(start, start + length)]
            self.slots = torch.tensor(slots, device=store.data.device)

    def read(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, each [1, kv_heads, s, head_dim]."""
        if len(self.extents) == 1:
            return self.keys[layer], self.values[layer]
        data = self.data[layer]
        if len(self.extents) > 4:
            cells = data.index_select(0, self.slots)
        else:
            cells = torch.cat([data[start : start + length] for start, length in self.extents])
        cells = cells.permute(1, 2, 0, 3).unsqueeze(1)
        return cells[0], cells[1]


def _folded(query: torch.Tensor) -> torch.Tensor:
    """Queries [rows, group, kv, d] as one batch [1, kv, rows * group, d]."""
    rows, group, heads, dim = query.shape
    return query.reshape(1, rows * group, heads, dim).transpose(1, 2)


def _unfolded(out: torch.Tensor, lse: torch.Tensor, rows: int) -> Part:
    """Outputs of folded queries as a Part."""
    _, heads, _, dim = out.shape
    return Part(
        out.transpose(1, 2).reshape(rows, -1, heads, dim),
        lse.transpose(1, 2).reshape(rows, -1, heads, 1),
    )


class ProductPart:
    """Rows that all see the same extents."""

    def __init__(self, item: Product, store: Store) -> None:
        self.first, self.last = item.first, item.last
        self.cells = _Cells(store, item.extents)

    def run(self, layer: int, query: torch.Tensor, scale: float | None) -> Part:
        key, value = self.cells.read(layer)
        out, lse = attend(_folded(query[self.first : self.last]), key, value, scale=scale)
        return _unfolded(out, lse, self.last - self.first)


class CausalPart:
    """Rows that see one slot more each; heads are not folded, because the kernel's mask counts queries."""

    def __init__(self, item: Causal, store: Store) -> None:
        self.first, self.last = item.first, item.last
        self.cells = _Cells(store, [Extent(item.start, item.last - item.first)])

    def run(self, layer: int, query: torch.Tensor, scale: float | None) -> Part:
        key, value = self.cells.read(layer)
        rows = query[self.first : self.last].permute(2, 1, 0, 3)
        shape = (rows.shape[0], rows.shape[1], *key.shape[2:])
        key, value = key.transpose(0, 1).expand(shape), value.transpose(0, 1).expand(shape)
        out, lse = attend(rows, key, value, causal=True, scale=scale)
        return Part(out.permute(2, 1, 0, 3), lse.permute(2, 1, 0).unsqueeze(-1))


class MaskedPart:
    """Rows against a union of slots, each row seeing some of them."""

    def __init__(self, item: Masked, store: Store, group: int) -> None:
        self.first, self.last = item.first, item.last
        self.cells = _Cells(store, item.extents)
        columns = sum(extent.length for extent in item.extents)
        mask = np.full((self.last - self.first, columns), -np.inf, dtype=np.float32)
        for top, bottom, left, right in item.boxes:
            mask[top - self.first : bottom - self.first, left:right] = 0.0
        dense = torch.from_numpy(mask.repeat(group, 0))
        self.mask = dense.to(store.data.device, store.data.dtype).unsqueeze(0).unsqueeze(0)

    def run(self, layer: int, query: torch.Tensor, scale: float | None) -> Part:
        key, value = self.cells.read(layer)
        out, lse = attend(_folded(query[self.first : self.last]), key, value, self.mask, scale=scale)
        return _unfolded(out, lse, self.last - self.first)


class FanPart:
    """Rows that share nothing, as one batch.

    Where the cache fits into the processor's, a strided view is read in place, or gathered if the chains are
    not equally spaced. A larger cache comes from memory, which likes whole cells in a row better than the
    kernel's strides: then a few rows at a time are gathered into what the core's own cache holds (853 against
    1370 us). On CPUs bfloat16 cells are widened: the kernel takes 1.3 times as long for many narrow ones.
    """

    def __init__(self, item: Fan, store: Store) -> None:
        first, last = item.rows[0], item.rows[-1] + 1
        self.range = (first, last) if last - first == len(item.rows) else None
        self.rows = torch.tensor(item.rows, device=store.data.device)
        lengths = [sum(extent.length for extent in chain) for chain in item.chains]
        self.longest = max(lengths)
        cpu = store.data.device.type == "cpu"
        self.wide = torch.float32 if cpu and store.data.dtype == torch.bfloat16 else store.data.dtype
        self.mask = _length_mask(lengths, store, self.wide) if min(lengths) < self.longest else None
        self.data = store.layers
        row_bytes = self.longest * store.data[0, 0].nbytes
        large = cpu and len(lengths) * row_bytes * len(self.data) > SHARED_CACHE
        self.few = max(1, CORE_CACHE // row_bytes) if large else len(lengths)
        step = 0 if large else _spacing(item.chains, self.longest, store.slots)
        self.views = (
            _strided(store, item.chains[0][0].start, step, len(lengths), self.longest) if step else ()
        )
        self.slots: tuple[torch.Tensor, ...] = ()
        if not step:
            slots = torch.from_numpy(_padded(item.chains, self.longest)).to(store.data.device)
            self.slots = slots.split(self.few * self.longest)

    def run(self, layer: int, query: torch.Tensor, scale: float | None) -> Part:
        rows = query[self.range[0] : self.range[1]] if self.range else query.index_select(0, self.rows)
        rows = rows.transpose(1, 2).to(self.wide)
        parts = [self._attend(layer, rows, index, scale) for index in range(max(1, len(self.slots)))]
        out, lse = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        return Part(out.transpose(1, 2).to(query.dtype), lse.transpose(1, 2).unsqueeze(-1))

    def _attend(
        self, layer: int, rows: torch.Tensor, index: int, scale: float | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The next few rows, or all of them, against their cells [rows, longest, 2, kv_heads, head_dim]."""
        mask = self.mask
        if len(self.slots) > 1:
            span = slice(index * self.few, (index + 1) * self.few)
            rows, mask = rows[span], None if mask is None else mask[span]
        data = self.data[layer]
        if self.views:
            cells = self.views[layer]
        else:
            cells = data.index_select(0, self.slots[index]).view(-1, self.longest, *data.shape[1:])
        key, value = cells.to(self.wide).permute(2, 0, 3, 1, 4)
        return attend(rows, key, value, mask, scale=scale)


def _strided(store: Store, start: int, step: int, rows: int, length: int) -> tuple[torch.Tensor, ...]:
    """Equally spaced extents of every layer without a copy: [rows, length, 2, kv_heads, head_dim]."""
    layer, slot, *inner = store.data.stride()
    shape = (len(store.layers), rows, length, *store.data.shape[2:])
    strides = (layer, step * slot, slot, *inner)
    return store.data.as_strided(shape, strides, store.data.storage_offset() + start * slot).unbind(0)


def _length_mask(lengths: list[int], store: Store, dtype: torch.dtype) -> torch.Tensor:
    """[rows, 1, 1, longest]: zero below each row's length, minus infinity beyond."""
    hidden = np.arange(max(lengths))[None, :] >= np.array(lengths)[:, None]
    mask = np.where(hidden, np.float32(-np.inf), np.float32(0.0))[:, None, None, :]
    return torch.from_numpy(mask).to(store.data.device, dtype)


def _spacing(chains: list[list[Extent]], longest: int, slots: int) -> int:
    """The equal distance of the chains' starts when a strided view can read them all, else 0."""
    if any(len(chain) != 1 for chain in chains):
        return 0
    starts = [chain[0].start for chain in chains]
    step = starts[1] - starts[0]
    even = all(b - a == step for a, b in pairwise(starts))
    return step if even and step > 0 and starts[-1] + longest <= slots else 0


def _padded(chains: list[list[Extent]], longest: int) -> np.ndarray:
    """Slots of every chain, flat, short ones padded with their own first slot."""
    slots = np.empty((len(chains), longest), dtype=np.int64)
    for row, chain in zip(slots, chains, strict=True):
        at = 0
        for start, length in chain:
            row[at : at + length] = np.arange(start, start + length)
            at += length
        row[at:] = chain[0].start
    return slots.reshape(-1)
