"""Cache tensors by slot. The store moves and grows; it decides nothing and knows no tokens."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch

from outthink.core.batch import Move

LINE = 64  # bytes of a cache line
RAW = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes: bits as they are
FIRST = 2**28  # bytes that are asked for at first on a CPU: they take no memory before they are written


class Store:
    """Keys and values of every layer, one tensor `[layers, slots, 2, kv_heads, head_dim]`.

    Slots come before key/value so that a row's key and value are neighbours: one pass writes both with one
    copy. Memory starts as zeros, because attention may read (and mask) slots that nobody has written yet.
    With `by_head` the slots of one head lie together, for kernels that read head after head: a run of slots
    is then one run of bytes, which processors fetch at two to three times the speed. The shape is the same.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device | str,
        by_head: bool = False,
    ) -> None:
        slots, self.by_head = max(slots, 1), by_head
        self._hold(
            _zeros((layers, slots, 2, kv_heads, head_dim), dtype, torch.device(device), by_head), slots
        )

    def _hold(self, reserve: torch.Tensor, slots: int) -> None:
        self.reserve = reserve
        self.data = reserve[:, :slots]
        self.layers = self.data.unbind(0)  # views; taking one costs no operation

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return self.data.shape[1]

    @property
    def bytes(self) -> int:
        """Memory that its slots take, in bytes."""
        return self.data.numel() * self.data.element_size()

    def move(self, moves: Sequence[Move]) -> None:
        """Do all moves at once: one gather, one scatter, whatever their number.

        On a CPU by numpy: torch's indexing of these strides takes hundreds of times as long for a few slots.
        """
        moves = [move for move in moves if move.length]
        if not moves:
            return
        source = [slot for move in moves for slot in range(move.src, move.src + move.length)]
        target = [slot for move in moves for slot in range(move.dst, move.dst + move.length)]
        if self.data.device.type == "cpu":
            raw = self.data.view(RAW[self.data.element_size()]).numpy()
            raw[:, target] = raw[:, source]
            return
        indices = torch.tensor([source, target], device=self.data.device)
        with torch.inference_mode():
            self.data.index_copy_(1, indices[1], self.data.index_select(1, indices[0]))

    def grow(self, slots: int) -> None:
        """Hold at least `slots` slots, contents kept.

        On a CPU what is asked of the system doubles, so that copying is linear in total, and what is handed
        out of it grows by a thirty-second: pages that nobody has touched take no memory. Other devices hold
        what they reserve, and hand all of it out.
        """
        if slots <= self.slots:
            return
        _, reserved, *_ = self.reserve.shape
        lazy = self.data.device.type == "cpu"
        wanted = max(slots, self.slots + self.slots // 32)
        if slots <= reserved:
            self._hold(self.reserve, min(wanted, reserved))
            return
        layers, old, *rest = self.data.shape
        first = FIRST // (layers * prod(rest) * self.data.element_size()) if lazy else 0
        shape = (layers, max(slots, 2 * reserved, first), *rest)
        reserve = _zeros(shape, self.data.dtype, self.data.device, self.by_head)
        reserve[:, :old] = self.data
        self._hold(reserve, min(wanted, reserve.shape[1]) if lazy else reserve.shape[1])


def _zeros(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, by_head: bool = False
) -> torch.Tensor:
    """Zeros; on a CPU those of the system, memory only once written, aligned to 64 bytes."""
    if by_head:
        layers, slots, pair, heads, dim = shape
        return _zeros((layers, heads, slots, pair, dim), dtype, device).permute(0, 2, 3, 1, 4)
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = prod(shape) * dtype.itemsize
    raw = torch.from_numpy(np.zeros(size + LINE, dtype=np.uint8))
    first = -raw.data_ptr() % LINE
    return raw[first : first + size].view(dtype).view(shape)
