"""Task families: each file without an underscore holds one, in a class of the file's name in CamelCase."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from outthink.core.problem import Task


def names() -> list[str]:
    """The families there are: the file names in this folder."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def load(name: str, **fields: Any) -> Task:
    """The family of that name, its fields (level=, seed=, path= ...) set."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no task {name!r}; there are {', '.join(names())}{hint}")
    module = import_module(f"{__name__}.{name}")
    return cast(Task, getattr(module, "".join(part.capitalize() for part in name.split("_")))(**fields))
