"""What strangers may ask for: marked parts all the way down, whose work is bounded; why others are not."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import process_time
from typing import Any

import pytest

import outthink as ot
from outthink import spec
from outthink.core.errors import BadInput, OutthinkError
from outthink.core.needs import MOST_PLACES, MOST_REMOTE, check_remote
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.speculate.hierarchy import Hierarchy
from outthink.speculate.store import Store
from outthink.strategy.best_of_n import BestOfN
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote

sys.path.insert(0, str(Path(__file__).parent / "contracts"))
from cases import DRAFTERS, STRATEGIES, VERIFIERS  # noqa: E402

NOT_SAFE = {  # family, part -> why strangers may not ask for it
    ("strategy", "read_twice"): "joins the question `times` times before anybody counts it",
    ("verify", "prm"): "decides by its fields: with the model's own head it is safe, with a path it is not",
    ("verify", "recorded"): "reads scores that came with recorded samples; a request has none",
    ("verify", "reward_model"): "loads a model from a path",
    ("verify", "unit_tests"): "runs code",
    ("speculate", "draft_model"): "loads a model by name or path",
    ("speculate", "staged"): "loads a model by name or path",
    ("speculate", "store"): "reads a file",
    ("speculate", "int8"): "makes a second form of the weights, which takes memory: the operator's choice",
    ("speculate", "skip"): "keeps a cache of its own for a second form of the model: the operator's choice",
    ("speculate", "exit"): "keeps a cache of its own for a second form of the model: the operator's choice",
    ("speculate.rules", "block"): "no field of a request names an accept rule",
    ("speculate.rules", "match"): "no field of a request names an accept rule",
    ("speculate.rules", "recursive"): "no field of a request names an accept rule",
    ("speculate.rules", "rejection"): "no field of a request names an accept rule",
}
FAMILIES = ("strategy", "verify", "speculate", "speculate.rules")
SAFE_WORDS = {"int", "float", "bool", "None", "Strategy", "Verifier", "Drafter", "tuple", "...", "Sampling"}
SAFE_WORDS |= {"Budget", "Shape"}  # a shape is a word of a list, or numbers
A_WORD = {  # checked against a list, or against how the text of a problem is parted
    *("per", "weight", "over", "scale", "pick", "resampling", "rule", "select", "order", "posterior", "how"),
    *("unit", "join"),
}
WRITTEN = {  # put before the model, looked for in a text, or filled in one go; never evaluated
    *("step", "cue", "blank", "separator", "yes", "no", "prompt", "critique", "revise", "improve", "distil"),
    *("refine", "go_on", "summarize", "sticker", "grounded", "forward", "inverse", "hint", "hints"),
    *("synthesize", "fact", "rules", "decompose", "sign", "constraints", "check", "batch"),
}
A_MODEL = {"model", "models"}  # the name of one that the operator has loaded; others are refused


@dataclass(frozen=True)
class Reader:
    """A verifier that nobody has marked."""

    path: str = "/etc/hostname"
    records = ()

    async def __call__(self, candidates: Any, /) -> Any: ...


def parts() -> list[tuple[str, str]]:
    return [(family, name) for family in FAMILIES for name in spec.names(family)]


def is_marked(family: str, name: str) -> bool:
    return getattr(spec.find(name, family), "remote_safe", False) is True


MARKED = [(family, name) for family, name in parts() if is_marked(family, name)]


def test_every_part_is_marked_or_has_its_reason() -> None:
    unmarked = {part for part in parts() if part not in MARKED}
    assert unmarked == set(NOT_SAFE) and all(NOT_SAFE.values())


def test_unmarked_parts_are_refused_wherever_they_are() -> None:
    check_remote(spec.parse("vote(n=2, inner=best_of_n(verifier=likelihood(), n=2))"))
    check_remote(spec.parse("race(strategies=(greedy(), beam(verifier=certainty())))"))
    race = replace(spec.parse("race(strategies=(greedy(), once()))"), strategies=(Once(), BestOfN(Reader())))
    for part in (BestOfN(Reader()), Vote(2, BestOfN(Reader())), race, Hierarchy((Store("x"),))):
        with pytest.raises(BadInput, match="remote_safe"):
            check_remote(part)


def test_counts_and_templates_have_an_end() -> None:
    check_remote(Vote(MOST_REMOTE))
    with pytest.raises(BadInput, match="n=10001: from elsewhere, give at most 10000"):
        check_remote(Vote(2, Vote(MOST_REMOTE + 1)))
    hints = spec.parse("hints(n=2)")
    check_remote(replace(hints, hint="{problem} {hint}" * MOST_PLACES))
    with pytest.raises(BadInput, match="give each place at most 4 times"):
        check_remote(replace(hints, hint="{problem} {hint}" * (MOST_PLACES + 1)))


@pytest.mark.parametrize(("family", "name"), MARKED, ids=lambda v: str(v))
def test_a_marked_part_has_no_field_for_a_place(family: str, name: str) -> None:
    for field in fields(spec.find(name, family)):  # type: ignore[arg-type]
        words = set(str(field.type).replace("|", " ").replace("[", " ").replace("]", " ").split())
        is_text = field.name in A_WORD | WRITTEN | A_MODEL
        assert {w.strip(",") for w in words} <= SAFE_WORDS | ({"str"} if is_text else set()), field.name


def test_a_model_is_named_never_opened() -> None:
    """A path where a model's name belongs is refused, though there is a model at it."""
    place = ot.embedded()["pocket-mini"]
    lm = ot.load("toy")
    for text in (f"best_of_n(verifier=judge(model={place!r}), n=2)", f"model_switch(models=({place!r},))"):
        part = spec.parse(text)
        check_remote(part)
        with pytest.raises(OutthinkError, match="no model in this engine named"):
            lm.run(Request(part, "ab", sampling=ot.Sampling(max_tokens=4)))


def hostile() -> list[Any]:
    """Every marked part with each of its counts at the most that strangers may give."""
    cases = [("strategy", STRATEGIES), ("verify", VERIFIERS), ("speculate", DRAFTERS)]
    found = []
    for family, listed in cases:
        for name in (name for f, name in MARKED if f == family and name in listed):
            part = next((p for p in listed[name] if _is_remote(p)), None)
            assert part is not None, f"{name} has no case that strangers may ask for"
            for field in fields(part):
                if isinstance(getattr(part, field.name), int) and "bool" not in str(field.type):
                    found.append(pytest.param(part, field.name, family, id=f"{name}-{field.name}"))
    return found


def _is_remote(part: Any) -> bool:
    try:
        check_remote(part)
    except BadInput:
        return False
    return True


@pytest.fixture(scope="module")
def engine() -> Engine:
    return ot.load("toy")


@pytest.mark.parametrize(("part", "field", "family"), hostile())
def test_a_large_count_costs_the_caps_and_no_more(engine: Engine, part: Any, field: str, family: str) -> None:
    """Refused, or over after the tokens that it may write, in little time."""
    try:
        large = replace(part, **{field: MOST_REMOTE})
    except ValueError:
        return
    strategy = {"strategy": large, "verify": BestOfN(large, n=2), "speculate": Vote(n=2)}[family]
    request = Request(
        strategy,
        "ab",
        ot.Budget(written=60),
        sampling=ot.Sampling(max_tokens=8),
        speculate=large if family == "speculate" else None,
        max_branches=64,
    )
    began = process_time()
    try:
        answer = engine.run(request)
        assert answer.receipt is not None and answer.receipt.logical.written <= 60
    except OutthinkError:
        pass
    assert process_time() - began < 5
    engine.main.tree.check()
