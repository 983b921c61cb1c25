"""Memory of a pass, and the pass over one row, where calls cost more than arithmetic.

Everything that does not change from pass to pass is made once: memory, every view of it, and calls bound to
both. What is left is 14 to 18 operations a layer. The stream keeps sqrt(width eps) as one element more than
it has, so that its norm is that of RMSNorm without another operation; matrices add their products to the
stream themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.linalg import vector_norm
from torch.nn.functional import silu

from outthink.models.attention import Attending
from outthink.models.config import Shape
from outthink.models.layer import Layer, heads_of, turn


class Rows:
    """Memory of a pass over some rows, and every view of it that the layers share."""

    def __init__(self, shape: Shape, rows: int, dtype: torch.dtype, wide: torch.Tensor) -> None:
        self.stream = wide.new_empty(rows, shape.hidden + 1)
        self.stream[:, -1] = (shape.hidden * shape.eps) ** 0.5
        self.x = self.stream[:, :-1]
        self.normed = wide.new_empty(rows, shape.hidden, dtype=dtype)
        self.qkv = wide.new_empty(rows, (shape.heads + 2 * shape.kv_heads) * shape.head_dim)
        heads = heads_of(shape, self.qkv)
        self.turned, self.cells, self.wide_query = heads.turned, heads.cells, heads.query
        self.pairs = torch.view_as_complex(self.turned.unflatten(-1, (-1, 2)))
        self.query = wide.new_empty(self.wide_query.shape, dtype=dtype)
        self.inner = wide.new_empty(rows, shape.intermediate, dtype=dtype)

    def norm(self, gain: torch.Tensor | None) -> torch.Tensor:
        """The stream over its norm, times the gain if it is not in the next matrix."""
        torch.div(self.x, vector_norm(self.stream, 2, -1, True), out=self.normed)
        return self.normed if gain is None else self.normed.mul_(gain)


class RowPass:
    """The pass over one row of a lean model, all calls bound to its memory."""

    def __init__(
        self, shape: Shape, layers: Sequence[Layer], dtype: torch.dtype, head_floor: torch.Tensor
    ) -> None:
        self.layers, self.head_floor = layers, head_floor
        narrow = [layer for layer in layers if not all(matrix.widens for matrix in layer.matrices)]
        self.rows = rows = Rows(shape, 1, dtype if narrow else head_floor.dtype, head_floor)
        rows.query = rows.query.to(dtype)
        self.cells = rows.cells[0]
        gate_up = rows.x.new_empty(1, 2 * shape.intermediate)
        self.gate, self.up = gate_up.chunk(2, 1)
        if dtype == rows.wide_query.dtype:
            rows.query = rows.wide_query  # one row is contiguous as it is
        self.qkv = [layer.qkv.bind_row(rows.normed, rows.qkv) for layer in layers]
        self.out = [layer.out.bind_sum(rows.x) for layer in layers]
        self.gate_up = [layer.gate_up.bind_row(rows.normed, gate_up) for layer in layers]
        self.down = [layer.down.bind_sum(rows.x) for layer in layers]

    def run(
        self,
        embedding: torch.Tensor,
        turns: torch.Tensor,
        cells: Sequence[torch.Tensor],
        attention: Attending,
    ) -> torch.Tensor:
        """The stream [1, hidden] behind the last layer; keys and values go into `cells`, one a layer."""
        rows = self.rows
        rows.x.copy_(embedding)
        for index, layer in enumerate(self.layers):
            rows.norm(layer.gains[0])
            self.qkv[index]()
            if layer.head_gain is None:
                rows.pairs.mul_(turns)
            else:
                turn(rows.turned, turns, layer.head_gain, self.head_floor)
            cells[index].copy_(self.cells)
            if rows.query is not rows.wide_query:
                rows.query.copy_(rows.wide_query)
            self.out[index](attention.run_row(index))
            rows.norm(layer.gains[1])
            self.gate_up[index]()
            torch.mul(silu(self.gate, inplace=True), self.up, out=rows.inner)
            self.down[index](rows.inner)
        return rows.x
