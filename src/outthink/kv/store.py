"""Cache tensors by slot. The store moves and grows; it decides nothing and knows no tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from outthink.core.batch import Move


class Store:
    """Keys and values of every layer, one tensor `[layers, slots, 2, kv_heads, head_dim]`.

    Slots come before key/value so that a row's key and value are neighbours: one pass writes both with one
    copy. Memory starts as zeros, because attention may read (and mask) slots that nobody has written yet.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        self._hold(torch.zeros(layers, max(slots, 1), 2, kv_heads, head_dim, dtype=dtype, device=device))

    def _hold(self, data: torch.Tensor) -> None:
        self.data = data
        self.layers = data.unbind(0)  # views; taking one costs no operation

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return self.data.shape[1]

    @property
    def bytes(self) -> int:
        """Memory held, in bytes."""
        return self.data.numel() * self.data.element_size()

    def move(self, moves: Sequence[Move]) -> None:
        """Do all moves at once: one gather, one scatter, whatever their number."""
        moves = [move for move in moves if move.length]
        if not moves:
            return
        source = [slot for move in moves for slot in range(move.src, move.src + move.length)]
        target = [slot for move in moves for slot in range(move.dst, move.dst + move.length)]
        indices = torch.tensor([source, target], device=self.data.device)
        with torch.inference_mode():
            self.data.index_copy_(1, indices[1], self.data.index_select(1, indices[0]))

    def grow(self, slots: int) -> None:
        """Hold at least `slots` slots, contents kept; capacity at least doubles, so growing is linear in
        total."""
        if slots <= self.slots:
            return
        layers, old, *rest = self.data.shape
        data = self.data.new_zeros(layers, max(slots, 2 * old), *rest)
        data[:, :old] = self.data
        self._hold(data)
