"""One block of a lean model: its matrices, and how its projected rows are cut into heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.linalg import vector_norm

from outthink.models.config import Shape
from outthink.models.linear import Int8Linear, Linear


@dataclass(frozen=True, slots=True)
class Layer:
    """The matrices of one block.

    `gains` are those of the norms before attention and before the rest, sqrt(width) included, unless they
    are in the matrices; `head_gain` is the gain of qwen3's norm of query and key heads, or None.
    """

    qkv: Linear | Int8Linear
    out: Linear | Int8Linear
    gate_up: Linear | Int8Linear
    down: Linear | Int8Linear
    head_gain: torch.Tensor | None
    gains: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)

    @property
    def matrices(self) -> tuple[Linear | Int8Linear, ...]:
        return self.qkv, self.out, self.gate_up, self.down


class Heads(NamedTuple):
    """Views of one projection's rows: heads to turn, queries by group, cache cells (keys, then values)."""

    turned: torch.Tensor  # [rows, heads + kv_heads, head_dim]
    query: torch.Tensor  # [rows, group, kv_heads, head_dim]
    cells: torch.Tensor  # [rows, 2, kv_heads, head_dim]


def heads_of(shape: Shape, qkv: torch.Tensor) -> Heads:
    """Views of projected rows."""
    rows, dim = len(qkv), shape.head_dim
    heads = qkv.view(rows, -1, dim)
    return Heads(
        heads[:, : -shape.kv_heads],
        heads[:, : shape.heads].view(rows, shape.group, shape.kv_heads, dim),
        heads[:, shape.heads :].view(rows, 2, shape.kv_heads, dim),
    )


def turn(heads: torch.Tensor, turns: torch.Tensor, gain: torch.Tensor | None, floor: torch.Tensor) -> None:
    """Rotary embedding of heads in place, in float32 at least; with a gain, the heads are normed before."""
    wide = heads.to(floor.dtype)
    if gain is not None:
        size = vector_norm(wide, 2, -1, True).hypot_(floor)
        wide.div_(size).mul_(gain)
    torch.view_as_complex(wide.view(*wide.shape[:-1], -1, 2)).mul_(turns)
    if wide is not heads:
        heads.copy_(wide)
