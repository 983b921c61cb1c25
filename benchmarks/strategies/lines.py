"""Files of JSON lines that grow as cells finish: a line is whole or it does not count."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """The lines of a file, none if it is absent. A last line that a kill cut is left out."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines() if line.strip()]


def read_all(folder: Path, pattern: str) -> list[Line]:
    """The lines of all files of a folder that match."""
    return [line for path in sorted(folder.glob(pattern)) for line in read(path)]


def append(path: Path, line: Line) -> None:
    """Add a line, in one write; a last line that a kill cut goes first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
        file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, lines: Iterable[Line]) -> None:
    """Replace the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
