"""Families of parts: each file in a folder holds one part, and the file's name is the part's."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from outthink.core.errors import UnknownName

NOUNS = {  # folder -> what one is called
    "strategy": "strategy",
    "verify": "verifier",
    "bench.tasks": "task",
    "speculate": "drafter",
    "speculate.rules": "accept rule",
}


@cache
def names(family: str) -> tuple[str, ...]:
    """The parts of a family: the files in its folder, but for those that begin with an underscore."""
    folder = import_module(f"outthink.{family}").__path__
    return tuple(sorted(m.name for m in iter_modules(folder) if not m.name.startswith("_") and not m.ispkg))


def find(name: str, family: str) -> type:
    """The class of that name in a family."""
    if name not in names(family):
        raise UnknownName(NOUNS[family], name, names(family))
    module = import_module(f"outthink.{family}.{name}")
    plain = name.replace("_", "")
    found: list[type] = [value for key, value in vars(module).items() if key.lower() == plain]
    return found[0]


def name_of(kind: type) -> str:
    """The lookup name of a part's class: its file's name, or the class's own in lower_snake form."""
    stem = kind.__module__.rpartition(".")[2]
    if stem.replace("_", "") == kind.__name__.lower():
        return stem
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
