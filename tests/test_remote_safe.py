"""What strangers may ask for: marked parts, all the way down, whose fields hold no places and no code."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pytest

from outthink import spec
from outthink.core.errors import BadInput
from outthink.core.needs import check_remote
from outthink.strategy.best_of_n import BestOfN
from outthink.strategy.vote import Vote

FAMILIES = ("strategy", "verify")
SAFE_WORDS = {"int", "float", "bool", "None", "Strategy", "Verifier", "tuple", "Sampling", "Budget"}
TEXTS = {("likelihood", "per"), ("weighted_vote", "weight")}  # texts that are checked against a list


@dataclass(frozen=True)
class Reader:
    """A verifier that nobody has marked."""

    path: str = "/etc/hostname"
    records = ()

    async def __call__(self, candidates: Any, /) -> Any: ...


def marked() -> list[type]:
    kinds = [spec.find(name, family) for family in FAMILIES for name in spec.names(family)]
    return [
        kind for kind in kinds if getattr(kind, "remote_safe", False) is True
    ]  # not: it depends on fields


def test_unmarked_parts_are_refused_wherever_they_are() -> None:
    check_remote(spec.parse("vote(n=2, inner=best_of_n(verifier=likelihood(), n=2))"))
    for part in (BestOfN(Reader()), Vote(2, BestOfN(Reader()))):
        with pytest.raises(BadInput, match="remote_safe"):
            check_remote(part)


@pytest.mark.parametrize("kind", marked(), ids=spec.name_of)
def test_a_marked_part_has_no_field_for_a_place(kind: Any) -> None:
    for field in fields(kind):
        words = set(str(field.type).replace("|", " ").replace("[", " ").replace("]", " ").split())
        is_text = (spec.name_of(kind), field.name) in TEXTS
        assert words <= SAFE_WORDS | ({"str"} if is_text else set()), f"{field.name}: {field.type}"
