"""A matrix in panels of 64 outputs, as native kernels read it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from outthink.models.int8_panels import PANEL, Int8Panels
from outthink.models.levels import _native


@dataclass(frozen=True, slots=True)
class Panels:
    """A packed matrix and its bias; in bfloat16 unless `wide`."""

    data: torch.Tensor
    bias: torch.Tensor | None
    outputs: int
    depth: int
    wide: bool

    @classmethod
    def pack(cls, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> Panels:
        """Of a matrix [outputs, inputs], rounded to `dtype`."""
        plain = weight.to(dtype).float().contiguous()
        outputs, depth = plain.shape
        wide = not torch.equal(plain.bfloat16().float(), plain)
        size = padded(outputs) * depth
        data = torch.empty(size, dtype=torch.float32 if wide else torch.bfloat16)
        _native.pack(plain.data_ptr(), outputs, depth, wide, data.data_ptr())
        return cls(data, None if bias is None else line(bias), outputs, depth, wide)

    @property
    def address(self) -> tuple[int, int, int, int, int, int]:
        """What C needs to know."""
        return self.data.data_ptr(), address_of(self.bias), 0, self.outputs, self.depth, int(self.wide)

    @property
    def bytes(self) -> int:
        """Memory."""
        return self.data.nbytes

    def rounded(self) -> Int8Panels:
        """The same matrix in 8 bits."""
        if self.wide:
            plain = self.data.view(-1, self.depth, PANEL).transpose(1, 2)
        else:
            plain = self.data.view(-1, self.depth, PANEL // 2, 2).permute(0, 3, 2, 1)
        weight = plain.reshape(-1, self.depth)[: self.outputs]
        return Int8Panels.pack(weight.float(), None if self.bias is None else self.bias[: self.outputs])


def padded(n: int) -> int:
    return -(-n // PANEL) * PANEL


def line(values: torch.Tensor) -> torch.Tensor:
    """float32 numbers with zeros behind them, up to a whole number of panels."""
    line = torch.zeros(padded(len(values)))
    line[: len(values)] = values
    return line


def address_of(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
