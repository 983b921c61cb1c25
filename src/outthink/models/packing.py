"""A model's parts, its matrices packed for native kernels."""

from __future__ import annotations

from dataclasses import replace

import torch

from outthink.models.assemble import Assembly, Parts
from outthink.models.int8_panels import PANEL, Int8Panels
from outthink.models.pages import Arena
from outthink.models.pair_panels import PairPanels
from outthink.models.panels import Panels, line

Packed = Panels | PairPanels | Int8Panels


class NativeAssembly(Assembly):
    """Packs matrices as they are read. Gains stay beside them, so that what was bfloat16 remains so."""

    def parts(self) -> Parts:
        """All of the model."""
        self.arena = Arena()
        return super().parts()

    def _gained(self, weight: torch.Tensor, norm: str) -> tuple[torch.Tensor, torch.Tensor]:
        width = weight.shape[1]
        gain = self.weights.get(f"{norm}.weight", width).double() * width**0.5
        return weight, line(gain)

    def _linear(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Packed:  # type: ignore[override]
        return self._held(Int8Panels.pack(weight, bias) if self.int8 else self._float(weight, bias))

    def _head(self, weight: torch.Tensor) -> Packed:  # type: ignore[override]
        """The head is never in 8 bits, but in a variant that drafts."""
        return self._held(self._float(weight, None))

    def _held(self, packed: Packed) -> Packed:
        """On large pages."""
        return replace(packed, data=self.arena.hold(packed.data))

    def _float(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Panels | PairPanels:
        return Panels.pack(weight, bias, self.dtype)

    def _gated(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Packed:  # type: ignore[override]
        """32 outputs of the gate and the 32 of `up` that they multiply, in one panel."""
        order = _gate_order(len(weight) // 2)
        zero = weight.new_zeros(1, weight.shape[1])
        padded = torch.cat([weight, zero])[order]
        return self._linear(padded, None if bias is None else torch.cat([bias, bias.new_zeros(1)])[order])

    def _embedding(self, embed: torch.Tensor) -> torch.Tensor:
        """In bfloat16 where that is exact."""
        rounded = embed.to(self.dtype)
        half = rounded.bfloat16()
        return half if torch.equal(half.float(), rounded.float()) else rounded.float()


class PairAssembly(NativeAssembly):
    """The same for products of two bfloat16 numbers at once."""

    def _float(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Panels | PairPanels:
        return PairPanels.pack(weight, bias)


def _gate_order(inner: int) -> torch.Tensor:
    """Rows of [gate; up; zero] in the order of gated panels."""
    half = PANEL // 2
    gate = torch.full((-(-inner // half) * half,), 2 * inner)
    gate[:inner] = torch.arange(inner)
    up = torch.where(gate < inner, gate + inner, gate)
    return torch.stack([gate.view(-1, half), up.view(-1, half)], 1).flatten()
