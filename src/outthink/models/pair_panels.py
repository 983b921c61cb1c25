"""Matrices in bfloat16 for processors that multiply two such numbers at once (`native/pairs.h`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from outthink.models.int8_panels import PANEL, Int8Panels


@dataclass(frozen=True, slots=True)
class PairPanels:
    """A matrix rounded to bfloat16, and its bias; `data` [panels, inputs / 2, 64, 2], zeros beyond it."""

    data: torch.Tensor
    bias: torch.Tensor | None
    outputs: int
    depth: int

    @classmethod
    def pack(cls, weight: torch.Tensor, bias: torch.Tensor | None) -> PairPanels:
        """Of a matrix [outputs, inputs]."""
        outputs, depth = weight.shape
        beyond = -outputs % PANEL
        whole = pad(weight.bfloat16(), (0, depth % 2, 0, beyond))
        panels = whole.view(-1, PANEL, whole.shape[1] // 2, 2).transpose(1, 2).contiguous()
        return cls(panels, None if bias is None else pad(bias.float(), (0, beyond)), outputs, depth)

    @property
    def bytes(self) -> int:
        """Memory."""
        return self.data.nbytes

    @property
    def address(self) -> tuple[int, int, int, int, int, int]:
        """What C needs to know."""
        bias = 0 if self.bias is None else self.bias.data_ptr()
        return self.data.data_ptr(), bias, 0, self.outputs, self.depth, 2

    def rounded(self) -> Int8Panels:
        """The same matrix in 8 bits."""
        plain = self.data.transpose(1, 2).reshape(len(self.data) * PANEL, -1)[: self.outputs, : self.depth]
        return Int8Panels.pack(plain.float(), None if self.bias is None else self.bias[: self.outputs])
