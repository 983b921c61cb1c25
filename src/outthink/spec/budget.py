"""Budgets as text."""

from __future__ import annotations

from dataclasses import fields

from outthink.core.errors import BadInput, UnknownName
from outthink.core.types import Budget


def parse_budget(text: str) -> Budget:
    """`written=4000,seconds=10` as a budget."""
    known = [f.name for f in fields(Budget)]
    caps: dict[str, float] = {}
    for item in text.split(","):
        name, equals, number = (part.strip() for part in item.partition("="))
        if not equals or not name:
            raise BadInput(
                f"cannot read {item.strip()!r} as a cap: give NAME=NUMBER such as written=4000,seconds=10"
            )
        if name not in known:
            raise UnknownName("cap", name, known)
        if name in caps:
            raise BadInput(f"budget: {name} is given twice")
        caps[name] = _number(name, number)
    return Budget(**caps)  # type: ignore[arg-type]


def _number(name: str, text: str) -> float:
    """A number; a whole one, however it is written (4000, 4e3), as an int."""
    try:
        value = float(text)
    except ValueError:
        raise BadInput(f"budget {name}={text!r} is not a number") from None
    return int(value) if value.is_integer() and name in ("written", "positions", "passes") else value
