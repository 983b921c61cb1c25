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


OWN: dict[str, dict[str, type]] = {}
"""Family -> name -> class, of what a user has added (see own.py)."""


def names(family: str) -> tuple[str, ...]:
    """The parts of a family: those that come with the package, and a user's own."""
    return tuple(sorted((*built_in(family), *OWN.get(family, ()))))


@cache
def built_in(family: str) -> tuple[str, ...]:
    """The parts that come with the package: the files in the family's folder, but for `_*.py`."""
    folder = import_module(f"outthink.{family}").__path__
    return tuple(sorted(m.name for m in iter_modules(folder) if not m.name.startswith("_") and not m.ispkg))


def find(name: str, family: str) -> type:
    """The class of that name in a family."""
    if name not in names(family):
        raise UnknownName(NOUNS[family], name, names(family))
    if name in OWN.get(family, ()):
        return OWN[family][name]
    module = import_module(f"outthink.{family}.{name}")
    plain = name.replace("_", "")
    found: list[type] = [value for key, value in vars(module).items() if key.lower() == plain]
    return found[0]


def name_of(kind: type) -> str:
    """The lookup name of a part's class: its file's name, or the class's own in lower_snake form."""
    stem = kind.__module__.rpartition(".")[2]
    if stem.replace("_", "") == kind.__name__.lower():
        return stem
    return re.sub(r"(?<!^)(?=[A-Z][a-z])|(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()


def a(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
