"""The pass over one row, where calls cost more than arithmetic.

Everything that does not change from pass to pass is made once: memory, every view of it, and calls bound to
both. What is left is 14 operations a layer. The stream keeps sqrt(width eps) as one element more than it has,
so that its norm is that of RMSNorm without another operation; matrices add their products to the stream
themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.linalg import vector_norm
from torch.nn.functional import silu

from outthink.models.attention import Attention
from outthink.models.config import Shape
from outthink.models.layer import Layer, heads_of, turn


class RowPass:
    """Memory of the pass over one row of a lean model, and the pass."""

    def __init__(
        self, shape: Shape, layers: Sequence[Layer], dtype: torch.dtype, head_floor: torch.Tensor
    ) -> None:
        self.layers, self.head_floor = layers, head_floor
        self.stream = head_floor.new_full((1, shape.hidden + 1), (shape.hidden * shape.eps) ** 0.5)
        self.x = self.stream[:, :-1]
        self.normed = torch.empty_like(self.x, dtype=dtype, memory_format=torch.contiguous_format)
        qkv = self.stream.new_empty(1, layers[0].qkv.outputs)
        gate_up = self.stream.new_empty(1, layers[0].gate_up.outputs)
        heads = heads_of(shape, qkv)
        self.turned = heads.turned
        self.pairs = torch.view_as_complex(heads.turned.unflatten(-1, (-1, 2)))
        self.wide_query = heads.query.transpose(1, 2)
        self.query = self.wide_query.to(dtype)  # the same memory if the type is the same
        self.cells = heads.cells[0]
        self.gate, self.up = gate_up.chunk(2, 1)
        self.inner = torch.empty_like(self.up, dtype=dtype)
        self.qkv = [layer.qkv.bind_row(self.normed, qkv) for layer in layers]
        self.out = [layer.out.bind_sum(self.x) for layer in layers]
        self.gate_up = [layer.gate_up.bind_row(self.normed, gate_up) for layer in layers]
        self.down = [layer.down.bind_sum(self.x) for layer in layers]

    def run(
        self,
        embedding: torch.Tensor,
        turns: torch.Tensor,
        cells: Sequence[torch.Tensor],
        attention: Attention,
    ) -> torch.Tensor:
        """The stream [1, hidden] behind the last layer; keys and values go into `cells`, one a layer."""
        self.x.copy_(embedding)
        for index, layer in enumerate(self.layers):
            torch.div(self.x, vector_norm(self.stream, 2, -1, True), out=self.normed)
            self.qkv[index]()
            if layer.head_gain is None:
                self.pairs.mul_(turns)
            else:
                turn(self.turned, turns, layer.head_gain, self.head_floor)
            cells[index].copy_(self.cells)
            if self.query is not self.wide_query:
                self.query.copy_(self.wide_query)
            self.out[index](attention.run_row(index, self.query))
            torch.div(self.x, vector_norm(self.stream, 2, -1, True), out=self.normed)
            self.gate_up[index]()
            torch.mul(silu(self.gate, inplace=True), self.up, out=self.inner)
            self.down[index](self.inner)
        return self.x
