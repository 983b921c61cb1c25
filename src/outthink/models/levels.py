"""The native extension, and which level of its kernels runs here."""

from __future__ import annotations

import os

import torch

from outthink.models.errors import ModelError

try:
    import outthink.models._native as _native
except ImportError:  # not built: there was no C compiler, or the platform has no POSIX threads
    _native = None  # type: ignore[assignment]

VARIABLE = "OUTTHINK_KERNELS"
PAIRS = "avx512bf16"  # the level that has products of bfloat16 numbers
CHOICES = ("auto", "torch", "native", PAIRS, "avx512", "avx2", "generic")


def choose_kernels(wanted: str | None, dtype: str, device: torch.device) -> str | None:
    """The level of native kernels to run, or None for torch.

    `wanted` is one of CHOICES; None is what the environment variable OUTTHINK_KERNELS says, else "auto": the
    fastest native level where the extension is built and has this type and device. Raises ModelError if
    native kernels are asked for that cannot run here.
    """
    name = wanted or os.environ.get(VARIABLE) or "auto"
    if name not in CHOICES:
        raise ModelError(f"kernels {name!r} are not known; use one of {', '.join(CHOICES)}")
    if name == "torch":
        return None
    reason = _missing(dtype, device)
    if reason is None:
        levels = _native.levels()
        level = levels[0] if name in ("auto", "native") else name
        if level in levels:
            return "avx512" if level == PAIRS and dtype != "bfloat16" else level  # the same, but for matrices
        reason = f"this processor has {', '.join(levels)}"
    if name == "auto":
        return None
    raise ModelError(f"kernels {name!r} cannot run: {reason}; use kernels='torch' or 'auto'")


def _missing(dtype: str, device: torch.device) -> str | None:
    """Why no native kernels can run, if so."""
    if _native is None:
        return "the native extension was not built (it needs a C compiler when outthink is installed)"
    if device.type != "cpu":
        return f"they are for the CPU, not for {device.type}"
    if dtype not in ("float32", "bfloat16", "int8"):
        return f"they have float32, bfloat16 and int8, not {dtype}"
    return None
