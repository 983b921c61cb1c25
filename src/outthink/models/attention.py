"""Attention of packed rows over cache extents, by plan.

Every item of a plan yields (out, logsumexp); two of them merge exactly, with w = sigmoid(lse_b - lse_a):

    out = out_a + w (out_b - out_a)        lse = logaddexp(lse_a, lse_b)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from outthink.kv.store import Store
from outthink.models.items import Causal, Fan, Item, Masked, Product
from outthink.models.products import BoundItem, CausalPart, FanPart, MaskedPart, Part, ProductPart, attend


class Attention:
    """A plan bound to a store, for one pass: `run(layer, query)` for every layer."""

    def __init__(self, items: Sequence[Item], store: Store, rows: int, group: int) -> None:
        self.shape = (rows, group, store.data.shape[3], store.data.shape[4])
        self.items = [(_bind(item, store, group), _where(item, store.data.device)) for item in items]
        self.only = self.items[0][0] if len(self.items) == 1 else None
        self.row = self.only if rows == 1 and isinstance(self.only, ProductPart) else None

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
        """The same for one row whose queries are folded already, [1, kv_heads, group, head_dim].

        The result has the right numbers in the right order of memory, whatever its shape.
        """
        if self.row is None:
            return self.run(layer, folded.transpose(1, 2))
        key, value = self.row.cells.read(layer)
        out, _ = attend(folded, key, value)
        # The kernel's output has the strides of its query; another kernel may do as it likes.
        return out if out.stride() == folded.stride() else out.transpose(1, 2).contiguous()

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
            return ProductPart(item, store)
        case Causal():
            return CausalPart(item, store)
        case Masked():
            return MaskedPart(item, store, group)
        case Fan():
            return FanPart(item, store)


def _where(item: Item, device: torch.device) -> slice | torch.Tensor:
    """The rows of an item: a slice when they are neighbours."""
    if isinstance(item, Product | Causal | Masked):
        return slice(item.first, item.last)
    if item.rows[-1] + 1 - item.rows[0] == len(item.rows):
        return slice(item.rows[0], item.rows[-1] + 1)
    return torch.tensor(item.rows, device=device)
