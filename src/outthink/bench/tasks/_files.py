"""Reading problems from a local JSONL file."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from outthink.bench.tasks._common import need_place


@lru_cache(maxsize=8)
def records(path: str, fields: tuple[str, ...]) -> tuple[dict[str, str], ...]:
    """The records of a JSONL file, each with at least the text fields named; errors say which line."""
    file = Path(path)
    if not path or not file.is_file():
        raise ValueError(f"no such file: {path!r}; set path= to a JSONL file with {', '.join(fields)}")
    found = []
    with file.open(encoding="utf-8", errors="strict") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                found.append(_record(line, fields, f"{path}:{number}"))
    if not found:
        raise ValueError(f"{path} holds no problem")
    return tuple(found)


def _record(line: str, fields: tuple[str, ...], place: str) -> dict[str, str]:
    """One line as a record."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: not JSON ({error})") from None
    if not isinstance(record, dict):
        raise ValueError(f"{place}: not an object")
    for name in fields:
        if not isinstance(record.get(name), str):
            raise ValueError(f"{place}: no text field {name!r}")
    return record


def entry(path: str, fields: tuple[str, ...], split: str, index: int) -> dict[str, str]:
    """Record number `index` of the file; a file is one split, `test`."""
    need_place(split, index)
    if split != "test":
        raise ValueError("a file of problems has only the split 'test'")
    found = records(path, fields)
    if index >= len(found):
        raise ValueError(f"{path} has {len(found)} problems, index {index} is past the last")
    return found[index]
