"""One matrix and the layouts in which it multiplies fastest."""

from __future__ import annotations

import torch

PACKED_FROM_ROWS = 3  # float32: below, one product with the transposed matrix beats oneDNN's blocked layout
TWO_LAYOUTS_BELOW = 16 << 20  # bytes: only small matrices are kept in both layouts


class Linear:
    """`y = x W^T + b` for rows `x`; W is given as `[outputs, inputs]`.

    On CPUs the matrix is packed once into oneDNN's blocked layout. In float32 a small matrix is also kept transposed:
    for one row, a product with the transposed matrix is a sum of its rows, which streams memory at full speed.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, device: torch.device) -> None:
        weight = weight.to(dtype)
        self.outputs, self.inputs = weight.shape
        self.bias = None if bias is None else bias.to(dtype).to(device)
        self.packed: torch.Tensor | None = None
        self.transposed: torch.Tensor | None = None
        if device.type == "cpu" and can_pack(dtype):
            self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
        if self.packed is None or (dtype == torch.float32 and weight.nbytes < TWO_LAYOUTS_BELOW):
            self.transposed = weight.t().contiguous().to(device)
        self.few = PACKED_FROM_ROWS if self.packed is not None else 1 << 62

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, inputs] -> [rows, outputs]."""
        if self.transposed is None or x.shape[0] >= self.few:
            return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        if self.bias is None:
            return torch.mm(x, self.transposed)
        return torch.addmm(self.bias, x, self.transposed)


def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies this type on this CPU."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32
