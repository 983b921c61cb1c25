"""Attention of packed rows over cache extents, by plan.

Queries come, and outputs go, as `[rows, group, kv_heads, head_dim]`: the query heads that share a key head
act as more rows, so grouped-query attention is an ordinary product with `rows * group` queries, and no
operation here copies queries or outputs. Projections order their rows and columns so once, at load.

Every item of a plan yields (out, logsumexp); two of them merge exactly, with w = sigmoid(lse_b - lse_a):

    out = out_a + w (out_b - out_a)        lse = logaddexp(lse_a, lse_b)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch

from outthink.kv.store import Store
from outthink.models.plan import Causal, Extent, Fan, Item, Masked, Product

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
    return _attend_plain(query, key, value, mask, causal, scale)


def _attend_plain(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    scale: float | None,
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


class _Product:
    """Rows that all see the same extents."""

    def __init__(self, item: Product, store: Store) -> None:
        self.first, self.last = item.first, item.last
        self.cells = _Cells(store, item.extents)

    def run(self, layer: int, query: torch.Tensor, scale: float | None) -> Part:
        key, value = self.cells.read(layer)
        out, lse = attend(_folded(query[self.first : self.last]), key, value, scale=scale)
        return _unfolded(out, lse, self.last - self.first)


class _Causal:
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


class _Masked:
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


class _Fan:
    """Rows that share nothing, as one batch: a strided view if the cache allows, else one gather."""

    def __init__(self, item: Fan, store: Store) -> None:
        device = store.data.device
        self.data = store.layers
        first, last = item.rows[0], item.rows[-1] + 1
        self.range = (first, last) if last - first == len(item.rows) else None
        self.rows = torch.tensor(item.rows, device=device)
        lengths = [sum(extent.length for extent in chain) for chain in item.chains]
        self.longest = max(lengths)
        self.mask = _length_mask(lengths, store) if min(lengths) < self.longest else None
        self.step = _spacing(item.chains, self.longest, store.slots)
        self.start = item.chains[0][0].start
        if not self.step:
            self.slots = torch.from_numpy(_padded(item.chains, self.longest)).to(device)

    def run(self, layer: int, query: torch.Tensor, scale: float | None) -> Part:
        rows = query[self.range[0] : self.range[1]] if self.range else query.index_select(0, self.rows)
        key, value = self._read(layer)
        out, lse = attend(rows.transpose(1, 2), key, value, self.mask, scale=scale)
        return Part(out.transpose(1, 2), lse.transpose(1, 2).unsqueeze(-1))

    def _read(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, each [rows, kv_heads, longest, head_dim]."""
        data = self.data[layer]
        _, two, heads, dim = data.shape
        if self.step:
            stride = data.stride(0)
            shape = (len(self.rows), self.longest, two, heads, dim)
            strides = (self.step * stride, stride, *data.stride()[1:])
            cells = data.as_strided(shape, strides, data.storage_offset() + self.start * stride)
        else:
            cells = data.index_select(0, self.slots).view(-1, self.longest, two, heads, dim)
        cells = cells.permute(2, 0, 3, 1, 4)
        return cells[0], cells[1]


def _length_mask(lengths: list[int], store: Store) -> torch.Tensor:
    """[rows, 1, 1, longest]: zero below each row's length, minus infinity beyond."""
    hidden = np.arange(max(lengths))[None, :] >= np.array(lengths)[:, None]
    mask = np.where(hidden, np.float32(-np.inf), np.float32(0.0))[:, None, None, :]
    return torch.from_numpy(mask).to(store.data.device, store.data.dtype)


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


class Attention:
    """A plan bound to a store, for one pass: `run(layer, query)` for every layer."""

    def __init__(self, items: Sequence[Item], store: Store, rows: int, group: int) -> None:
        self.shape = (rows, group, store.data.shape[3], store.data.shape[4])
        self.items = [(_bind(item, store, group), _where(item, store.data.device)) for item in items]
        self.only = self.items[0][0] if len(self.items) == 1 else None
        self.row = self.only if rows == 1 and isinstance(self.only, _Product) else None

    def run(self, layer: int, query: torch.Tensor, scale: float | None = None) -> torch.Tensor:
        """Queries [rows, group, kv_heads, head_dim] -> [rows, group * kv_heads * head_dim]."""
        rows = self.shape[0]
        if self.only is not None:
            return self.only.run(layer, query, scale).out.reshape(rows, -1)
        total: Part | None = None
        for item, where in self.items:
            part = item.run(layer, query, scale)
            if total is None:
                total = self._first(part, where)
            else:
                _merge(total, part, where)
        assert total is not None
        return total.out.view(rows, -1)

    def run_row(self, layer: int, folded: torch.Tensor) -> torch.Tensor:
        """The same for one row whose queries are folded already, [1, kv_heads, group, head_dim]."""
        if self.row is None:
            return self.run(layer, folded.transpose(1, 2))
        key, value = self.row.cells.read(layer)
        out, _ = attend(folded, key, value)
        return out.transpose(1, 2).reshape(1, -1)

    def _first(self, part: Part, where: slice | torch.Tensor) -> Part:
        """Accumulators that hold the first part; rows it does not cover have weight zero."""
        if isinstance(where, slice) and where.stop - where.start == self.shape[0]:
            return Part(part.out.contiguous(), part.lse.contiguous())
        out = part.out.new_zeros(self.shape)
        lse = part.lse.new_full((*self.shape[:3], 1), float("-inf"))
        out[where], lse[where] = part
        return Part(out, lse)


def _merge(total: Part, part: Part, where: slice | torch.Tensor) -> None:
    """Merge a part into the rows that it covers, in place."""
    out, lse = total.out[where], total.lse[where]
    weight = torch.sigmoid(part.lse - lse).to(out.dtype)
    if isinstance(where, slice):
        out.lerp_(part.out, weight)
        torch.logaddexp(lse, part.lse, out=lse)
    else:
        total.out[where] = out.lerp_(part.out, weight)
        total.lse[where] = torch.logaddexp(lse, part.lse)


def _bind(item: Item, store: Store, group: int) -> BoundItem:
    match item:
        case Product():
            return _Product(item, store)
        case Causal():
            return _Causal(item, store)
        case Masked():
            return _Masked(item, store, group)
        case Fan():
            return _Fan(item, store)


def _where(item: Item, device: torch.device) -> slice | torch.Tensor:
    """The rows of an item: a slice when they are neighbours."""
    if isinstance(item, Product | Causal | Masked):
        return slice(item.first, item.last)
    if item.rows[-1] + 1 - item.rows[0] == len(item.rows):
        return slice(item.rows[0], item.rows[-1] + 1)
    return torch.tensor(item.rows, device=device)
