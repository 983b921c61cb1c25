"""Matrices in 8-bit whole numbers as the native kernels want them (`native/gemm8.h`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from outthink.models.errors import ModelError

PANEL = 64  # as in native.h
DEEPEST = 1 << 16  # 127 * 255 times this is still below 2^31


@dataclass(frozen=True, slots=True)
class Int8Panels:
    """A matrix rounded as `linear.Int8Linear` rounds it, one scale per output, and its bias.

        w_jk = round(W_jk / t_j),    t_j = max_k |W_jk| / 127

    `data` [panels, inputs / 4, 64, 4] holds w + 128 as bytes; `scales` are the t. What is beyond the
    matrix is 128, a zero.
    """

    data: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None
    outputs: int
    depth: int

    @classmethod
    def pack(cls, weight: torch.Tensor, bias: torch.Tensor | None) -> Int8Panels:
        """Of a matrix [outputs, inputs]. Raises ModelError beyond 65536 inputs, where sums overflow."""
        outputs, depth = weight.shape
        if depth > DEEPEST:
            raise ModelError(f"a matrix has {depth} inputs, and 8 bits allow {DEEPEST}; use dtype='bfloat16'")
        beyond = -outputs % PANEL
        scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-30) / 127
        whole = pad((weight / scale).round() + 128, (0, -depth % 4, 0, beyond), value=128.0)
        panels = whole.to(torch.uint8).view(-1, PANEL, whole.shape[1] // 4, 4)
        return cls(
            panels.transpose(1, 2).contiguous(),
            pad(scale.view(-1).float(), (0, beyond)),
            None if bias is None else pad(bias.float(), (0, beyond)),
            outputs,
            depth,
        )

    @property
    def bytes(self) -> int:
        """Memory, scales included."""
        return self.data.nbytes + self.scales.nbytes

    @property
    def address(self) -> tuple[int, int, int, int, int, int]:
        """What C needs to know."""
        bias = 0 if self.bias is None else self.bias.data_ptr()
        return self.data.data_ptr(), bias, self.scales.data_ptr(), self.outputs, self.depth, 0
