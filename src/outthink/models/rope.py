"""Rotary position embedding: inverse frequencies of the usual scalings, and the table of turns.

Plain:    f_i = base^(-2 i / d), i = 0 .. d/2 - 1; a pair (x_i, x_{i + d/2}) turns by position x f_i.
Linear:   f_i / factor.
Llama 3:  long wavelengths divide by factor, short ones stay, those between are interpolated.
YaRN:     interpolated and plain frequencies blended by a ramp over dimensions; cos and sin grow.
Dynamic:  plain up to the original length; beyond, frequencies would change under cached keys: refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from outthink.models.errors import ModelError


@dataclass(frozen=True)
class Rope:
    """Base, scaling kind and its parameters, for heads of `dim`; `positions` is how far it may be used."""

    base: float
    dim: int
    positions: int
    kind: str = "default"
    options: tuple[tuple[str, Any], ...] = ()

    def table(self, length: int, dtype: torch.dtype) -> torch.Tensor:
        """Turns as complex numbers [length, dim / 2]: factor x exp(i position f).

        Angles are rounded to float32 unless the model is in float64, as the reference implementations do: a
        float32 angle is off by 1e-2 at position 100 000, and trained models have only ever seen that.
        """
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        frequencies, factor = self.frequencies(exact)
        angles = torch.arange(length, dtype=exact)[:, None] * frequencies[None, :]
        return torch.complex(angles.cos() * factor, angles.sin() * factor)

    def frequencies(self, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, float]:
        """Inverse frequencies [dim / 2] and the factor on cos and sin."""
        exponents = torch.arange(0, self.dim, 2, dtype=torch.int64).to(dtype) / self.dim
        plain = 1.0 / (self.base**exponents)
        options = dict(self.options)
        match self.kind:
            case "default" | "dynamic":
                return plain, 1.0
            case "linear":
                return plain / options["factor"], 1.0
            case "llama3":
                return _llama3(plain, options), 1.0
            case "yarn":
                return _yarn(plain, self, options)
        raise ModelError(f"rope scaling {self.kind!r} is not supported; known: {', '.join(sorted(_NEEDS))}")


_NEEDS = {
    "default": (),
    "dynamic": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor",),
}


def parse_rope(config: Mapping[str, Any], dim: int, positions: int) -> Rope:
    """Rope settings of a config.json, in old spelling (rope_theta, rope_scaling) or new (rope_parameters)."""
    options = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    base = options.pop("rope_theta", None) or config.get("rope_theta") or 10000.0
    if not isinstance(base, int | float):
        raise ModelError(f"config.json: rope_theta must be a number, not {base!r}")
    kind = str(options.pop("rope_type", None) or options.pop("type", None) or "default")
    options.pop("type", None)
    if kind not in _NEEDS:
        raise ModelError(f"rope scaling {kind!r} is not supported; known: {', '.join(sorted(_NEEDS))}")
    missing = [name for name in _NEEDS[kind] if options.get(name) is None]
    if missing:
        raise ModelError(f"rope scaling {kind!r} in config.json lacks {', '.join(missing)}; add it")
    if config.get("partial_rotary_factor", options.get("partial_rotary_factor", 1.0)) not in (None, 1, 1.0):
        raise ModelError("partial rotary embedding is not supported by the lean forward")
    if kind == "dynamic":
        positions = int(options.get("original_max_position_embeddings") or positions)
    if kind == "yarn" and not options.get("original_max_position_embeddings"):
        options["original_max_position_embeddings"] = (
            config.get("original_max_position_embeddings") or positions
        )
    return Rope(
        float(base), dim, positions, kind, tuple(sorted((k, v) for k, v in options.items() if v is not None))
    )


def _llama3(plain: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
    """Wavelengths above original/low divide by factor, below original/high stay, others are between."""
    low, high, factor = options["low_freq_factor"], options["high_freq_factor"], options["factor"]
    original = options["original_max_position_embeddings"]
    wavelength = 2 * math.pi / plain
    smooth = ((original / wavelength - low) / (high - low)).clamp(0, 1)
    return (1 - smooth) * plain / factor + smooth * plain


def _yarn(plain: torch.Tensor, rope: Rope, options: Mapping[str, Any]) -> tuple[torch.Tensor, float]:
    """Plain frequencies where a head turns often over the original length, else interpolated ones."""
    original, factor = options["original_max_position_embeddings"], options["factor"]

    def dimension(turns: float) -> float:
        return rope.dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.base))

    low, high = dimension(options.get("beta_fast") or 32), dimension(options.get("beta_slow") or 1)
    if options.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.dim - 1)
    width = (high - low) or 0.001
    ramp = ((torch.arange(rope.dim // 2, dtype=plain.dtype) - low) / width).clamp(0, 1)
    return plain / factor * ramp + plain * (1 - ramp), _yarn_factor(factor, options)


def _yarn_factor(factor: float, options: Mapping[str, Any]) -> float:
    """The factor on cos and sin: given, or 0.1 mscale ln(factor) + 1 over the same with mscale_all_dim."""
    if options.get("attention_factor") is not None:
        return float(options["attention_factor"])

    def magnitude(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    if options.get("mscale") and options.get("mscale_all_dim"):
        return magnitude(options["mscale"]) / magnitude(options["mscale_all_dim"])
    return magnitude(1.0)
