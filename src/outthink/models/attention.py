"""Attention of packed rows over cache extents, by plan.

Every item of a plan yields (out, logsumexp); two of them merge exactly, with w = sigmoid(lse_b - lse_a):

    out = out_a + w (out_b - out_a)        lse = logaddexp(lse_a, lse_b)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from outthink.core.batch import Batch
from outthink.kv.store import Store
from outthink.models.items import Causal, Fan, Item, Masked, Product
from outthink.models.plan import Costs, plan
from outthink.models.products import BoundItem, CausalPart, FanPart, MaskedPart, Part, ProductPart


class Attending(Protocol):
    """Attention bound to a pass: its rows, its store, and the memory of its queries."""

    def run(self, layer: int, scale: float | None = None) -> torch.Tensor:
        """Outputs [rows, group * kv_heads * head_dim] for the queries of a layer."""
        ...

    def run_row(self, layer: int) -> torch.Tensor:
        """The same for a single row, not necessarily in this shape, but in this order of memory."""
        ...


Attend = Callable[[Batch, Store, torch.Tensor], Attending]


def by_plan(costs: Costs) -> Attend:
    """Attention by the cheapest plan of each pass."""
    return lambda batch, store, query: Attention(plan(batch, costs), store, query)


class Attention:
    """A plan bound to a store and to the memory of the queries, for one pass.

    `query` is [rows, group, kv_heads, head_dim], in one piece; a layer writes its queries there, then runs.
    """

    def __init__(self, items: Sequence[Item], store: Store, query: torch.Tensor) -> None:
        self.shape = query.shape
        self.items = [(_bind(item, store, query), _where(item, store.data.device)) for item in items]
        self.only = self.items[0][0] if len(self.items) == 1 else None

    def run(self, layer: int, scale: float | None = None) -> torch.Tensor:
        """Outputs [rows, group * kv_heads * head_dim] for the queries of a layer."""
        rows = self.shape[0]
        if self.only is not None:
            return self.only.run(layer, scale).out.reshape(rows, -1)
        (first, where), *others = self.items
        total = self._first(first.run(layer, scale), where)
        for item, where in others:
            _merge(total, item.run(layer, scale), where)
        return total.out.view(rows, -1)

    def run_row(self, layer: int) -> torch.Tensor:
        """The same for a single row, not necessarily in this shape, but in this order of memory."""
        return self.only.flat(layer) if isinstance(self.only, ProductPart) else self.run(layer)

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


def _bind(item: Item, store: Store, query: torch.Tensor) -> BoundItem:
    match item:
        case Product():
            return ProductPart(item, store, query)
        case Causal():
            return CausalPart(item, store, query)
        case Masked():
            return MaskedPart(item, store, query)
        case Fan():
            return FanPart(item, store, query)


def _where(item: Item, device: torch.device) -> slice | torch.Tensor:
    """The rows of an item: a slice when they are neighbours."""
    if isinstance(item, Product | Causal | Masked):
        return slice(item.first, item.last)
    if item.rows[-1] + 1 - item.rows[0] == len(item.rows):
        return slice(item.rows[0], item.rows[-1] + 1)
    return torch.tensor(item.rows, device=device)
