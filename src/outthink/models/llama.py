"""The lean forward of the Llama family (llama, mistral, qwen2, qwen3): packed rows, one plan a pass.

What is done once at load, in float64 before rounding, so that a pass has few operations:

- q, k, v are one matrix, gate and up are one matrix;
- a norm's gain and sqrt(width) go into the matrix behind it, leaving x / hypot(|x|, sqrt(width eps)), unless
  the matrix alone fits into float16 (see linear.py), which is worth more;
- the two halves that rotary embedding pairs are interleaved, so that turning them is one complex product;
- query heads, and the columns of the output projection, are in the order of attention: (group, kv_head).

The residual stream is float32 (float64 in float64 models), whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.linalg import vector_norm
from torch.nn.functional import silu

from outthink.core.batch import Batch
from outthink.core.jobs import Variant
from outthink.kv.store import Store
from outthink.models.assemble import Parts
from outthink.models.attention import by_plan
from outthink.models.base import ModelConfig
from outthink.models.config import Shape
from outthink.models.errors import ModelError
from outthink.models.layer import turn
from outthink.models.linear import Int8Linear, Linear
from outthink.models.plan import Costs
from outthink.models.row import RowPass, Rows
from outthink.models.variants import lean_variant

KEPT_ROWS = 256  # memory of passes up to this size is kept for the next one


class LeanModel:
    """A Llama-like model that evaluates packed rows."""

    weight_bytes: float  # what a pass reads of weights, of an 8-bit variant alone
    head: Linear | Int8Linear

    def __init__(self, shape: Shape, config: ModelConfig, parts: Parts) -> None:
        self.shape, self.config = shape, config
        self.layers, self.embed, self.head, self.gain, self.last_gain = parts
        self.dtype, self.device = self.embed.dtype, self.embed.device
        self.wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        self.floor = torch.tensor([(shape.hidden * shape.eps) ** 0.5], dtype=self.wide, device=self.device)
        self.head_floor = torch.tensor(
            [(shape.head_dim * shape.eps) ** 0.5], dtype=self.wide, device=self.device
        )
        self.turns = shape.rope.table(min(1024, shape.max_positions), self.dtype).to(self.device)
        self.attend = by_plan(Costs().scaled(shape.heads * shape.head_dim))
        self.rows: Rows | None = None
        self.row: RowPass | None = RowPass(shape, self.layers, self.dtype, self.head_floor)
        self.which: Sequence[int] = range(shape.layers)  # the numbers of `layers` in the cache
        self.state_bytes = 0.0  # what is held beside the model that this is a variant of

    def variant(self, variant: Variant) -> LeanModel:
        """Some layers of it, or an 8-bit copy, on the same cache. Raises ModelError where there is none."""
        return lean_variant(self, variant)

    def new_store(self, slots: int) -> Store:
        """An empty cache of that many slots."""
        shape = self.shape
        return Store(shape.layers, slots, shape.kv_heads, shape.head_dim, self.dtype, self.device)

    @torch.inference_mode()
    def forward(self, batch: Batch, store: Store) -> torch.Tensor:
        """Logits of the wanted rows, [len(wanted), vocab]; keys and values of all rows go into slots."""
        if not len(batch):
            return torch.empty(0, self.shape.vocab, dtype=self.wide, device=self.device)
        return self._logits(self._stream(batch, store), batch.wanted)

    @torch.inference_mode()
    def states(self, batch: Batch, store: Store) -> torch.Tensor:
        """The outputs of the last norm of the wanted rows [len(wanted), hidden], in a pass without logits."""
        if not batch.wanted:
            self._stream(batch, store)
            return torch.empty(0, self.shape.hidden, dtype=self.wide, device=self.device)
        wanted = torch.tensor(batch.wanted, dtype=torch.long, device=self.device)
        x = self._stream(batch, store).index_select(0, wanted)
        return x / vector_norm(x, 2, -1, True).hypot(self.floor) * self.last_gain

    def _stream(self, batch: Batch, store: Store) -> torch.Tensor:
        """The stream [rows, hidden] behind the last layer, of a batch that is not empty."""
        table = self._turns(max(batch.positions))
        if self.row is not None and len(batch) == 1 and store.data.dtype == self.dtype:
            attention = self.attend(batch, store, self.row.rows.query)
            cells = store.data[:, batch.slots[0]].unbind(0)
            turns = table[batch.positions[0]]
            return self.row.run(self.embed[batch.tokens[0]], turns, cells, attention)
        return self._many_rows(batch, store, table)

    def _many_rows(self, batch: Batch, store: Store, table: torch.Tensor) -> torch.Tensor:
        """The stream [rows, hidden] behind the last layer."""
        rows = self._memory(len(batch), store.data.dtype)
        attention = self.attend(batch, store, rows.query)
        numbers = torch.tensor([batch.tokens, batch.positions, batch.slots], device=self.device)
        tokens, positions, slots = numbers
        turns = table.index_select(0, positions).unsqueeze(1)
        rows.x.copy_(self.embed.index_select(0, tokens))
        for index, layer in zip(self.which, self.layers, strict=True):
            rows.qkv.copy_(layer.qkv(rows.norm(layer.gains[0])))
            if layer.head_gain is None:
                rows.pairs.mul_(turns)
            else:
                turn(rows.turned, turns, layer.head_gain, self.head_floor)
            store.layers[index].index_copy_(0, slots, rows.cells.to(store.data.dtype))
            rows.query.copy_(rows.wide_query)
            rows.x.add_(layer.out(attention.run(index)))
            gate, up = layer.gate_up(rows.norm(layer.gains[1])).chunk(2, 1)
            rows.x.add_(layer.down(torch.mul(silu(gate, inplace=True), up, out=rows.inner)))
        return rows.x

    def _memory(self, count: int, cache: torch.dtype) -> Rows:
        """Memory for that many rows; that of the last pass, if it is not large, serves again."""
        rows = self.rows
        if rows is None or len(rows.x) != count or rows.query.dtype != cache:
            rows = Rows(self.shape, count, self.dtype, self.floor)
            if cache != self.dtype:
                rows.query = rows.query.to(cache)
            self.rows = rows if count <= KEPT_ROWS else None
        return rows

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        """The last norm: x / hypot(|x|, sqrt(width eps)), times the gain if it is not in the head."""
        size = vector_norm(x, 2, -1, True).hypot_(self.floor)
        normed = torch.div(x, size, out=torch.empty(x.shape, dtype=self.dtype, device=self.device))
        return normed if self.gain is None else normed.mul_(self.gain)

    def _logits(self, x: torch.Tensor, wanted: list[int]) -> torch.Tensor:
        """The head, for the wanted rows only."""
        if len(wanted) < len(x):
            x = x.index_select(0, torch.tensor(wanted, dtype=torch.long, device=self.device))
        if not wanted:
            return x.new_empty(0, self.shape.vocab)
        return self.head(self._norm(x)).to(self.wide)

    def _turns(self, position: int) -> torch.Tensor:
        """The table of turns, long enough for a position."""
        if position >= len(self.turns):
            if position >= self.shape.max_positions:
                raise ModelError(
                    f"position {position} is beyond the {self.shape.max_positions} positions of this model "
                    f"(set by {self.shape.limit}); shorten the prompt or the answer"
                )
            length = min(max(2 * len(self.turns), position + 1), self.shape.max_positions)
            self.turns = self.shape.rope.table(length, self.dtype).to(self.device)
        return self.turns
