"""Reading safetensors, one file or shards, with every fault named in one line."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open

from outthink.models.config import read_json
from outthink.models.errors import ModelError


class Weights:
    """The tensors of a checkpoint by name; files stay mapped until closed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, Any] = {}
        self.where = _index(directory)
        self.used: dict[str, int] = {}
        for path in sorted(set(self.where.values()) if self.where else {directory / "model.safetensors"}):
            self.files[str(path)] = _open(path)
        if not self.where:
            [(name, file)] = self.files.items()
            self.where = {tensor: Path(name) for tensor in file.keys()}  # noqa: SIM118 - not a dict

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.files.clear()

    def __contains__(self, name: str) -> bool:
        return name in self.where

    def get(self, name: str, *shape: int) -> torch.Tensor:
        """The tensor of that name; ModelError when missing, unreadable, not floating point or misshapen."""
        if name not in self.where:
            raise ModelError(
                f"{self.directory}: the weights have no {name}; the checkpoint does not fit its config.json"
            )
        try:
            tensor: torch.Tensor = self.files[str(self.where[name])].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{self.where[name]}: {name} cannot be read ({error}); download the file again"
            ) from None
        if tuple(tensor.shape) != shape:
            raise ModelError(
                f"{self.where[name]}: {name} has shape {list(tensor.shape)}, config.json says {list(shape)}; "
                "the two belong to different models"
            )
        if not tensor.is_floating_point():
            raise ModelError(
                f"{self.where[name]}: {name} is {tensor.dtype}, not floating point; give original weights"
            )
        check_finite(tensor, f"{self.where[name]}: {name}")
        self.used[name] = tensor.numel()
        return tensor

    @property
    def params(self) -> int:
        """How many numbers were read, every tensor once."""
        return sum(self.used.values())

    def unused(self) -> list[str]:
        """Tensors that nobody asked for."""
        return sorted(set(self.where) - set(self.used))


def check_finite(tensor: torch.Tensor, where: str) -> None:
    """Raise ModelError where a number is NaN or infinite: such a one makes the sum so, which is cheap to ask.

    Only where the sum is no number is every number looked at: large ones add up beyond the type, too.
    """
    wide = tensor if tensor.element_size() > 1 else tensor.float()  # 8 bits cannot be added up
    if isfinite(wide.sum(dtype=None if wide.dtype == torch.float64 else torch.float32).item()):
        return
    if bad := int(wide.isfinite().logical_not_().sum()):
        raise ModelError(
            f"{where} has {bad} of {tensor.numel()} numbers that are NaN or infinite; the file is damaged or "
            "its training diverged: download it again"
        )


def _index(directory: Path) -> dict[str, Path]:
    """Tensor name to file, from the index of a sharded checkpoint; empty for a single file."""
    if (directory / "model.safetensors").exists():
        return {}
    path = directory / "model.safetensors.index.json"
    if not path.exists():
        raise ModelError(
            f"{directory} has neither model.safetensors nor {path.name}; only safetensors are read"
        )
    table = read_json(path).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(file, str) for file in table.values()):
        raise ModelError(f"{path} has no weight_map; download it again")
    if escaped := [file for file in table.values() if Path(file).name != file]:
        raise ModelError(f"{path} names {escaped[0]!r}, which is outside the directory; do not trust it")
    return {name: directory / file for name, file in table.items()}


def _open(path: Path) -> Any:
    """Map one file; the library checks header length, offsets and data length."""
    if not path.is_file():
        raise ModelError(f"{path} is missing; download it again")
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is not a whole safetensors file ({error}); download it again") from None
