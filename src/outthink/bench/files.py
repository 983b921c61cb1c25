"""Folders for results, and JSON that every reader takes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from outthink.core.errors import BadInput
from outthink.core.files import write_whole


def make_folder(path: Path) -> None:
    """Make the folder, parents too, and make sure that it can be written; a BadInput that says why not."""
    probe = path / f".probe-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_whole(probe, b"x")
        probe.unlink()
    except OSError as error:
        raise BadInput(f"cannot write into {str(path)!r}: {error.strerror or error}") from None


def plain(value: Any) -> Any:
    """The value, with what JSON does not know (infinities, sets, odd types) in a form that it does."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return str(value)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON in ASCII, which every reader takes."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, all at once."""
    write_whole(path, (to_json(value, indent=1) + "\n").encode())
