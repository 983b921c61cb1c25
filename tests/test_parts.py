"""Every part that comes with the package can be written down, read again, and described."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import pytest

from outthink import spec

FAMILIES = ("strategy", "verify", "speculate", "speculate.rules", "bench.tasks")
NEEDED = {
    "inner": "inner=copy(n=3)",
    "verifier": "verifier=steps(noise=0.25)",
    "twist": "twist=steps(noise=0.25)",
    "path": "path='problems.jsonl'",
    "methods": "methods=(greedy(), vote(n=4))",
    "parts": "parts=(exact(), steps(noise=0.25))",
}
ALL = [(family, name) for family in FAMILIES for name in spec.names(family)]


def part(family: str, name: str) -> Any:
    """The part with what it needs and no more."""
    kind = spec.find(name, family)
    lacking = [
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING and f.init
    ]
    return spec.parse(f"{name}({', '.join(NEEDED[field] for field in lacking)})", family)


@pytest.mark.parametrize("family, name", ALL)
def test_it_survives_being_shown(family: str, name: str) -> None:
    made = part(family, name)
    assert spec.parse(spec.show(made), family) == made
    assert spec.show(made).startswith(f"{name}(")


@pytest.mark.parametrize("family, name", [pair for pair in ALL if pair[0] != "bench.tasks"])
def test_its_repr_is_its_configuration(family: str, name: str) -> None:
    made = part(family, name)
    assert repr(made) == spec.show(made)


@pytest.mark.parametrize("family, name", ALL)
def test_it_says_what_it_does_in_a_sentence(family: str, name: str) -> None:
    about = spec.describe(spec.find(name, family))
    assert about.name == name and 10 < len(about.summary) < 160 and "\n" not in about.summary


@pytest.mark.parametrize("family, name", ALL)
def test_it_is_frozen(family: str, name: str) -> None:
    made = part(family, name)
    with pytest.raises(AttributeError):
        made.seed = 1


@pytest.mark.parametrize(
    "family, text",
    [
        ("strategy", "best_of_n(n=4, verifier=likelihood())"),
        ("verify", "steps(noise=0.1)"),
        ("bench.tasks", "steps(level=2)"),
    ],
)
def test_a_name_resolves_in_the_family_of_its_field(family: str, text: str) -> None:
    """`steps` is a verifier and a task."""
    assert type(spec.parse(text, family)).__module__.startswith(f"outthink.{family}")
