"""The lean forward of the Llama family (llama, mistral, qwen2, qwen3): packed rows, one plan a pass.

What is done once at load, in float64 before rounding, so that a pass has few operations:

- q, k, v are one matrix, gate and up are one matrix;
- a norm's gain and sqrt(width) go into the matrix behind it, leaving x / hypot(|x|, sqrt(width eps));
- the two halves that rotary embedding pairs are interleaved, so that turning them is one complex product;
- query heads, and the columns of the output projection, are in the order of attention: (group, kv_head).

The residual stream is float32 (float64 in float64 models), whatever the weights are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.linalg import vector_norm

from outthink.core.batch import Batch
from outthink.kv.store import Store
from outthink.models.attention import Attention
from outthink.models.base import ModelConfig
from outthink.models.config import Shape
from outthink.models.errors import ModelError
from outthink.models.layer import Layer, heads_of, turn
from outthink.models.linear import Int8Linear, Linear
from outthink.models.plan import Costs, plan
from outthink.models.row import RowPass
from outthink.models.weights import Weights


class Parts(NamedTuple):
    """The weights of a lean model, folded and laid out."""

    layers: list[Layer]
    embed: torch.Tensor
    head: Linear


class LeanModel:
    """A Llama-like model that evaluates packed rows."""

    def __init__(self, shape: Shape, config: ModelConfig, parts: Parts) -> None:
        self.shape, self.config = shape, config
        self.layers, self.embed, self.head = parts
        self.dtype, self.device = self.embed.dtype, self.embed.device
        self.wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        self.floor = torch.tensor([(shape.hidden * shape.eps) ** 0.5], dtype=self.wide, device=self.device)
        self.head_floor = torch.tensor(
            [(shape.head_dim * shape.eps) ** 0.5], dtype=self.wide, device=self.device
        )
        self.turns = shape.rope.table(min(1024, shape.max_positions), self.dtype).to(self.device)
        self.costs = Costs().scaled(shape.heads * shape.head_dim)
        self.row = RowPass(shape, self.layers, self.dtype, self.head_floor)

    def new_store(self, slots: int) -> Store:
        """An empty cache of that many slots."""
        shape = self.shape
        return Store(shape.layers, slots, shape.kv_heads, shape.head_dim, self.dtype, self.device)

    @torch.inference_mode()
    def forward(self, batch: Batch, store: Store) -> torch.Tensor:
        """Logits of the wanted rows, [len(wanted), vocab]; keys and values of all rows go into slots."""
        rows = len(batch)
        if not rows:
            return torch.empty(0, self.shape.vocab, dtype=self.wide, device=self.device)
        table = self._turns(max(batch.positions))
        attention = Attention(plan(batch, self.costs), store, rows, self.shape.group)
        if rows == 1:
            cells = store.data[:, batch.slots[0]].unbind(0)
            embedding = self.embed[batch.tokens[0]]
            return self._logits(
                self.row.run(embedding, table[batch.positions[0]], cells, attention), batch.wanted
            )
        tokens, positions, slots = torch.tensor(
            [batch.tokens, batch.positions, batch.slots], device=self.device
        )
        turns = table.index_select(0, positions).unsqueeze(1)
        x = self.embed.index_select(0, tokens).to(self.wide)
        for index, layer in enumerate(self.layers):
            heads = heads_of(self.shape, layer.qkv(self._norm(x)))
            turn(heads.turned, turns, layer.head_gain, self.head_floor)
            store.layers[index].index_copy_(0, slots, heads.cells)
            x += layer.out(attention.run(index, heads.query.contiguous()))
            x += layer.down(self._swiglu(layer.gate_up(self._norm(x))))
        return self._logits(x, batch.wanted)

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        """x / hypot(|x|, sqrt(width eps)); the rest of RMSNorm is in the next matrix."""
        size = vector_norm(x, 2, -1, True).hypot_(self.floor)
        return torch.div(x, size, out=torch.empty(x.shape, dtype=self.dtype, device=self.device))

    def _swiglu(self, gate_up: torch.Tensor) -> torch.Tensor:
        """silu(gate) * up."""
        half = self.shape.intermediate
        return F.silu(gate_up[:, :half]).mul_(gate_up[:, half:])

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


def read_parts(
    shape: Shape, weights: Weights, dtype: torch.dtype, device: torch.device, int8: bool = False
) -> Parts:
    """Read, fold and lay out the weights of a lean model; `int8` rounds the matrices of the layers."""
    embed = weights.get("model.embed_tokens.weight", shape.vocab, shape.hidden)
    layers = [_layer(shape, weights, index, dtype, device, int8) for index in range(shape.layers)]
    gain = weights.get("model.norm.weight", shape.hidden)
    head = embed if shape.tied else weights.get("lm_head.weight", shape.vocab, shape.hidden)
    return Parts(layers, embed.to(device, dtype), Linear(_fold(head, gain), None, dtype, device))


def _fold(weight: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """W diag(gain) sqrt(width), in float64."""
    return weight.double() * (gain.double() * len(gain) ** 0.5)


def _layer(
    shape: Shape, weights: Weights, index: int, dtype: torch.dtype, device: torch.device, int8: bool
) -> Layer:
    prefix = f"model.layers.{index}."
    hidden, inner = shape.hidden, shape.intermediate
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim

    def matrix(name: str, outputs: int, inputs: int) -> torch.Tensor:
        return weights.get(f"{prefix}{name}.weight", outputs, inputs).double()

    def bias(names: dict[str, int], present: bool) -> list[torch.Tensor] | None:
        return (
            [weights.get(f"{prefix}{n}.bias", size).double() for n, size in names.items()]
            if present
            else None
        )

    def by_group(rows: torch.Tensor) -> torch.Tensor:
        """Query heads from (kv_head, group) to (group, kv_head) order."""
        return rows.unflatten(0, (shape.kv_heads, shape.group, -1)).transpose(0, 1).flatten(0, 2)

    def pairs(rows: torch.Tensor) -> torch.Tensor:
        """Interleave the halves of every head: rows (i, i + d/2) become (2i, 2i + 1)."""
        return rows.unflatten(0, (-1, 2, shape.head_dim // 2)).transpose(1, 2).flatten(0, 2)

    before = weights.get(prefix + "input_layernorm.weight", hidden)
    between = weights.get(prefix + "post_attention_layernorm.weight", hidden)
    sizes = {"self_attn.q_proj": query, "self_attn.k_proj": key, "self_attn.v_proj": key}
    q, k, v = (matrix(name, size, hidden) for name, size in sizes.items())
    qkv_bias = bias(sizes, shape.qkv_bias)
    out = by_group(matrix("self_attn.o_proj", hidden, query).t()).t()
    out_bias = bias({"self_attn.o_proj": hidden}, shape.out_bias)
    up_bias = bias({"mlp.gate_proj": inner, "mlp.up_proj": inner}, shape.mlp_bias)
    down_bias = bias({"mlp.down_proj": hidden}, shape.mlp_bias)
    head_gain = None
    if shape.head_norm:
        gains = [weights.get(f"{prefix}self_attn.{n}_norm.weight", shape.head_dim).double() for n in "qk"]
        spread = [
            pairs(gain).expand(n, -1) for gain, n in zip(gains, (shape.heads, shape.kv_heads), strict=True)
        ]
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        head_gain = (torch.cat(spread) * shape.head_dim**0.5).to(device, wide)

    def linear(weight: torch.Tensor, parts: list[torch.Tensor] | None) -> Linear | Int8Linear:
        whole = None if parts is None else torch.cat(parts)
        return Int8Linear(weight, whole, device) if int8 else Linear(weight, whole, dtype, device)

    if qkv_bias:
        qkv_bias = [by_group(pairs(qkv_bias[0])), pairs(qkv_bias[1]), qkv_bias[2]]
    gate_up = torch.cat([matrix("mlp.gate_proj", inner, hidden), matrix("mlp.up_proj", inner, hidden)])
    return Layer(
        qkv=linear(_fold(torch.cat([by_group(pairs(q)), pairs(k), v]), before), qkv_bias),
        out=linear(out, out_bias),
        gate_up=linear(_fold(gate_up, between), up_bias),
        down=linear(matrix("mlp.down_proj", hidden, inner), down_bias),
        head_gain=head_gain,
    )
