"""Memory for weights on large pages: a pass reads all, and look-ups of small pages take a twentieth of it."""

from __future__ import annotations

import mmap

import torch

BLOCK = 2**25  # bytes that are taken from the system at a time; pages that nobody writes take no memory
LINE = 64  # bytes of a cache line


class Arena:
    """Hands out pieces of large blocks. A block lives as long as a tensor in it."""

    def __init__(self) -> None:
        self.block: mmap.mmap | None = None
        self.used = 0

    def hold(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of a tensor in the arena."""
        if not tensor.numel():
            return tensor
        block = self._room(tensor.nbytes)
        held = torch.frombuffer(block, dtype=tensor.dtype, count=tensor.numel(), offset=self.used)
        self.used += -(-tensor.nbytes // LINE) * LINE
        return held.view(tensor.shape).copy_(tensor)

    def _room(self, size: int) -> mmap.mmap:
        """The block, or a new one where it has no room left."""
        if self.block is None or self.used + size > len(self.block):
            self.block, self.used = mmap.mmap(-1, max(BLOCK, size)), 0
            if hasattr(mmap, "MADV_HUGEPAGE"):  # of Linux
                self.block.madvise(mmap.MADV_HUGEPAGE)
        return self.block
