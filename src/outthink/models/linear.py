"""One matrix and the layouts in which it multiplies fastest."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

TWO_LAYOUTS_BELOW = 16 << 20  # bytes; only matrices below are kept in a second layout for single rows
HALF_BELOW = 64 << 20  # bytes of float32; only matrices below are kept in float16 too
HALF_ROWS = {torch.float32: 16, torch.bfloat16: 8}  # up to so many rows the float16 layout is fastest


class Linear:
    """`y = x W^T + b` for rows `x`; W is given as `[outputs, inputs]`.

    A pass over few rows waits for weights, not for arithmetic. So on CPUs a matrix has two layouts:

    - for many rows, oneDNN's blocked layout;
    - for few rows, float16 with float32 arithmetic, if float16 holds the weights as exactly as float32
      arithmetic needs them: always after bfloat16, and if a checkpoint was saved in 16 bits. Half the bytes,
      a third of the time. Otherwise, for one row in float32: with one thread transposed (a sum of rows
      streams memory best), with several cut into one block of outputs per thread, because a batch of products
      is shared among threads and a single matrix-vector product is not.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, device: torch.device
    ) -> None:
        weight = weight.to(dtype).contiguous()
        self.outputs, self.inputs = weight.shape
        self.bias = None if bias is None else bias.to(dtype).to(device)
        self.packed: torch.Tensor | None = None
        self.half: Half | None = None
        self.single: torch.Tensor | None = None  # [blocks, inputs, outputs / blocks]
        self.plain: torch.Tensor | None = None  # [inputs, outputs]
        if device.type == "cpu" and can_pack(dtype):
            self.packed = torch.ops.mkldnn._reorder_linear_weight(weight)
            self.half = pack_half(weight)
            if self.half is None and dtype == torch.float32 and weight.nbytes < TWO_LAYOUTS_BELOW:
                self.single = _blocks(weight, torch.get_num_threads())
        else:
            self.plain = weight.t().contiguous().to(device)
        self.few = HALF_ROWS[dtype] if self.half is not None else 0
        self.scaled_bias = None
        if self.half is not None and self.bias is not None:
            self.scaled_bias = self.bias.float() * self.half.scale

    @property
    def widens(self) -> bool:
        """Whether a single row is multiplied in float32 whatever the weights are."""
        return self.half is not None

    def dense(self) -> torch.Tensor:
        """W as it was given, but for its type: [outputs, inputs]."""
        if self.plain is not None:
            return self.plain.t()
        assert self.packed is not None
        return self.packed.to_dense()

    def forget_layouts(self) -> None:
        """Keep the layout for many rows alone: one computation, whatever the number of rows."""
        self.half = self.single = self.scaled_bias = None
        self.few = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, inputs] -> [rows, outputs], in the type of x, or float32 for few rows."""
        if self.half is not None and len(x) <= self.few:
            return self.half.product(x.float(), self.scaled_bias)
        if self.packed is None:
            assert self.plain is not None
            return torch.mm(x, self.plain) if self.bias is None else torch.addmm(self.bias, x, self.plain)
        if self.single is not None and len(x) == 1:
            return self._row(x, x.new_empty(1, self.outputs))
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")

    def bind_row(self, x: torch.Tensor, out: torch.Tensor) -> Callable[[], object]:
        """Later calls multiply the row that is then in `x` into `out`; views are made now."""
        if self.single is None:
            return lambda: out.copy_(self(x))
        if self.bias is not None:
            return partial(self._row, x, out)
        blocks = self.single.shape[0]
        return partial(torch.bmm, x.expand(blocks, 1, self.inputs), self.single, out=out.view(blocks, 1, -1))

    def bind_sum(self, total: torch.Tensor) -> Callable[[torch.Tensor], object]:
        """Later calls add the product of a row, which lies in memory in one piece, to `total`."""
        inputs, single = self.inputs, self.single
        if single is None or self.bias is not None:
            return lambda row: total.add_(self(row.as_strided((1, inputs), (inputs, 1))))
        blocks = single.shape[0]
        view = total.view(blocks, 1, -1)
        return lambda row: view.baddbmm_(row.as_strided((blocks, 1, inputs), (0, inputs, 1)), single)

    def _row(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """One row by the layout for single rows."""
        assert self.single is not None
        blocks = self.single.shape[0]
        torch.bmm(x.expand(blocks, 1, self.inputs), self.single, out=out.view(blocks, 1, -1))
        return out if self.bias is None else out.add_(self.bias)


class Half(NamedTuple):
    """A matrix in the float16 layout, times `scale`, a power of two (1 if the weights fit as they are)."""

    packed: torch.Tensor
    scale: float

    def product(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """`x W^T + b` in float32; the bias is given times `scale`."""
        out = torch.fbgemm_linear_fp16_weight_fp32_activation(x, self.packed, bias)
        return out if self.scale == 1 else out.mul_(1 / self.scale)


def half_scale(weight: torch.Tensor) -> float | None:
    """A power of two by which float16 holds the weights to within 2^-22 of the largest, or None.

    That is less than what sums in float32 are off by. Small weights need the factor, for float16 ends at
    2^-24.
    """
    weight = weight.float()
    largest = weight.abs().max().item()
    for scale in (1.0, 2.0 ** (13 - math.frexp(largest)[1])):
        error = ((weight * scale).half().float() - weight * scale).abs().max().item()
        if error <= largest * scale * 2**-22:
            return scale
    return None


def pack_half(weight: torch.Tensor) -> Half | None:
    """The float16 layout of a matrix, if this build of torch has it and the weights fit."""
    known = hasattr(torch, "fbgemm_linear_fp16_weight_fp32_activation")
    scale = half_scale(weight) if known and 4 * weight.numel() <= HALF_BELOW else None
    if scale is None:
        return None
    with warnings.catch_warnings():  # deprecated, and twice as fast as what replaces it
        warnings.simplefilter("ignore")
        try:
            half = Half(torch.fbgemm_pack_gemm_matrix_fp16(weight.float() * scale), scale)
            half.product(torch.zeros(1, weight.shape[1]), None)
        except RuntimeError:  # built without it, or for a processor without what it needs
            return None
    return half


class Int8Linear:
    """`y = x W^T + b` in 8-bit integers: one scale per output of W, one per row of x, found as the row comes.

        y_ij = s_i t_j sum_k round(x_ik / s_i) round(w_jk / t_j) + b_j,    s_i = max_k |x_ik| / 127, t_j alike

    Sums of integers are exact, so a row's result does not depend on the rows beside it. Rounding W and x
    costs about 1 % of the size of y; only the head's logits and the residual stream stay in floating point.
    """

    widens = True

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, device: torch.device) -> None:
        self.outputs, self.inputs = weight.shape
        scale = weight.abs().amax(1, keepdim=True).clamp_min_(1e-30) / 127
        self.weight = (weight / scale).round_().to(torch.int8).to(device).t()
        self.scale = scale.view(-1).to(torch.float32).to(device)
        self.bias = None if bias is None else bias.to(torch.float32).to(device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, inputs] -> [rows, outputs], float32."""
        x = x.float()
        scale = torch.linalg.vector_norm(x, float("inf"), 1, True).clamp_min_(1e-30).div_(127)
        whole = torch.div(x, scale).round_().to(torch.int8)
        out = self._product(whole).mul(scale).mul_(self.scale)
        return out if self.bias is None else out.add_(self.bias)

    def bind_row(self, x: torch.Tensor, out: torch.Tensor) -> Callable[[], object]:
        """Later calls multiply the row that is then in `x` into `out`."""
        return lambda: out.copy_(self(x))

    def bind_sum(self, total: torch.Tensor) -> Callable[[torch.Tensor], object]:
        """Later calls add the product of a row, which lies in memory in one piece, to `total`."""
        return lambda row: total.add_(self(row.as_strided((1, self.inputs), (self.inputs, 1))))

    def _product(self, whole: torch.Tensor) -> torch.Tensor:
        """The integer product; CUDA wants more than 16 rows, and a multiple of 8."""
        rows = len(whole)
        if whole.is_cuda and (rows <= 16 or rows % 8):
            padded = whole.new_zeros(max(24, -(-rows // 8) * 8), self.inputs)
            padded[:rows] = whole
            return torch._int_mm(padded, self.weight)[:rows]
        return torch._int_mm(whole, self.weight)


def _blocks(weight: torch.Tensor, threads: int) -> torch.Tensor:
    """W^T as [blocks, inputs, outputs / blocks]: transposed in memory for one block, as it is for several."""
    outputs, inputs = weight.shape
    blocks = max(count for count in range(1, threads + 1) if outputs % count == 0)
    if blocks == 1:
        return weight.t().contiguous().unsqueeze(0)
    return weight.view(blocks, outputs // blocks, inputs).transpose(1, 2)


def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies this type on this CPU."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32
