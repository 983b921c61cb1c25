"""From the tensors of a checkpoint to the matrices of a lean model: joined, reordered, gains folded in."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from outthink.models.config import Shape
from outthink.models.layer import Layer
from outthink.models.linear import Int8Linear, Linear, half_scale


class Source(Protocol):
    """Where tensors come from: a checkpoint, or a network in memory."""

    def get(self, name: str, *shape: int) -> torch.Tensor:
        """The tensor of that name, which must have that shape."""
        ...


class Parts(NamedTuple):
    """The weights of a lean model, folded and laid out."""

    layers: list[Layer]
    embed: torch.Tensor
    head: Linear
    gain: torch.Tensor | None  # of the last norm, unless it is in the head
    last_gain: torch.Tensor  # the same wherever it is, for who reads hidden states; sqrt(width) included


class Assembly:
    """Reads a checkpoint layer by layer. Everything is done in float64 and rounded once."""

    def __init__(
        self, shape: Shape, weights: Source, dtype: torch.dtype, device: torch.device, int8: bool
    ) -> None:
        self.shape, self.weights = shape, weights
        self.dtype, self.device, self.int8 = dtype, device, int8
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32

    def parts(self) -> Parts:
        """All of the model."""
        shape = self.shape
        embed = self.weights.get("model.embed_tokens.weight", shape.vocab, shape.hidden)
        layers = [self._layer(f"model.layers.{index}.") for index in range(shape.layers)]
        head = embed if shape.tied else self.weights.get("lm_head.weight", shape.vocab, shape.hidden)
        matrix, gain = self._gained(head.double(), "model.norm")
        last = self.weights.get("model.norm.weight", shape.hidden).double() * shape.hidden**0.5
        last = last.to(self.device, self.wide)
        return Parts(layers, self._embedding(embed), self._head(matrix), gain, last)

    def _layer(self, prefix: str) -> Layer:
        """One block: q, k and v as one matrix, gate and up as one."""
        shape, hidden, inner = self.shape, self.shape.hidden, self.shape.intermediate
        query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        at = prefix + "self_attn."
        sizes = {"q": query, "k": key, "v": key}
        q, k, v = (self._matrix(f"{at}{name}_proj", size, hidden) for name, size in sizes.items())
        out = self._by_group(self._matrix(f"{at}o_proj", hidden, query).t()).t()
        joined = torch.cat([self._by_group(self._pairs(q)), self._pairs(k), v])
        qkv, before = self._gained(joined, prefix + "input_layernorm")
        mlp = prefix + "mlp."
        halves = torch.cat([self._matrix(f"{mlp}{n}_proj", inner, hidden) for n in ("gate", "up")])
        gate_up, between = self._gained(halves, prefix + "post_attention_layernorm")
        return Layer(
            qkv=self._linear(qkv, self._qkv_bias(at, sizes)),
            out=self._linear(out, self._bias(shape.out_bias, at + "o_proj", hidden)),
            gate_up=self._gated(gate_up, self._mlp_bias(mlp, inner)),
            down=self._linear(
                self._matrix(mlp + "down_proj", hidden, inner),
                self._bias(shape.mlp_bias, mlp + "down_proj", hidden),
            ),
            head_gain=self._head_gain(at) if shape.head_norm else None,
            gains=(before, between),
        )

    def _matrix(self, name: str, outputs: int, inputs: int) -> torch.Tensor:
        return self.weights.get(f"{name}.weight", outputs, inputs).double()

    def _bias(self, present: bool, name: str, size: int) -> torch.Tensor | None:
        return self.weights.get(f"{name}.bias", size).double() if present else None

    def _qkv_bias(self, at: str, sizes: dict[str, int]) -> torch.Tensor | None:
        present = self.shape.qkv_bias
        q, k, v = (self._bias(present, f"{at}{name}_proj", size) for name, size in sizes.items())
        if q is None or k is None or v is None:
            return None
        return torch.cat([self._by_group(self._pairs(q)), self._pairs(k), v])

    def _mlp_bias(self, mlp: str, inner: int) -> torch.Tensor | None:
        gate, up = (self._bias(self.shape.mlp_bias, f"{mlp}{n}_proj", inner) for n in ("gate", "up"))
        return None if gate is None or up is None else torch.cat([gate, up])

    def _head_gain(self, at: str) -> torch.Tensor:
        """Gains of qwen3's norms of query and key heads, a row a head, sqrt(head_dim) included."""
        shape, dim = self.shape, self.shape.head_dim
        counts = {"q": shape.heads, "k": shape.kv_heads}
        gains = [
            self._pairs(self.weights.get(f"{at}{name}_norm.weight", dim).double()).expand(count, -1)
            for name, count in counts.items()
        ]
        return (torch.cat(gains) * dim**0.5).to(self.device, self.wide)

    def _gained(self, weight: torch.Tensor, norm: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """W diag(gain) sqrt(width) and no gain; or, where W alone fits into float16, W and the gain."""
        width = weight.shape[1]
        gain = self.weights.get(f"{norm}.weight", width).double() * width**0.5
        if self.dtype == torch.float32 and self.device.type == "cpu" and half_scale(weight) is not None:
            return weight, gain.to(self.device, self.wide)
        return weight * gain, None

    def _linear(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Linear | Int8Linear:
        if self.int8:
            return Int8Linear(weight, bias, self.device)
        return Linear(weight, bias, self.dtype, self.device)

    def _gated(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Linear | Int8Linear:
        """Gate and up as one matrix."""
        return self._linear(weight, bias)

    def _head(self, weight: torch.Tensor) -> Linear:
        """The head is never in 8 bits."""
        return Linear(weight, None, self.dtype, self.device)

    def _embedding(self, embed: torch.Tensor) -> torch.Tensor:
        return embed.to(self.device, self.dtype)

    def _by_group(self, rows: torch.Tensor) -> torch.Tensor:
        """Query heads from (kv_head, group) to (group, kv_head) order."""
        shape = self.shape
        return rows.unflatten(0, (shape.kv_heads, shape.group, -1)).transpose(0, 1).flatten(0, 2)

    def _pairs(self, rows: torch.Tensor) -> torch.Tensor:
        """Interleave the halves of every head: rows (i, i + d/2) become (2i, 2i + 1)."""
        return rows.unflatten(0, (-1, 2, self.shape.head_dim // 2)).transpose(1, 2).flatten(0, 2)
