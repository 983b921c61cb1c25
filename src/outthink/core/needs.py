"""What a composed part needs of a backend: the union over everything inside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from outthink.core.errors import BadInput, CannotDo
from outthink.core.types import Budget, Can, Sampling


def needs_of(part: Any) -> Can:
    """`part.needs` and that of all parts in its fields."""
    found: Can = getattr(part, "needs", Can(0))
    if is_dataclass(part):
        for f in fields(part):
            value = getattr(part, f.name)
            for inner in value if isinstance(value, tuple) else (value,):
                if is_dataclass(inner) and not isinstance(inner, type):
                    found |= needs_of(inner)
    return found


MOST_TYPED = 100_000  # the largest count on a command line: parts make lists of so many
MOST_REMOTE = 10_000  # the largest count that strangers may give; what comes of it meets the run's caps
MOST_PLACES = 4  # times that one place may stand in a template of theirs: each is filled with a text


def check_remote(part: Any) -> None:
    """Raise BadInput unless a part and all parts in its fields are `remote_safe`: strangers may ask for them.

    Such a part reads no file, opens no address and runs no code, whatever its fields are, and what it does
    between two tokens is bounded by its counts, which are bounded here.
    """
    if not getattr(part, "remote_safe", False):
        raise BadInput(f"{part!r} cannot be asked for from elsewhere: it is not marked remote_safe")
    for field in fields(part) if is_dataclass(part) else ():
        given = getattr(part, field.name)
        for value in given if isinstance(given, tuple) else (given,):
            if isinstance(value, int) and abs(value) > MOST_REMOTE:
                raise BadInput(f"{field.name}={value}: from elsewhere, give at most {MOST_REMOTE}")
            places = re.findall(r"\{\w+\}", value) if isinstance(value, str) else []
            if places and max(map(places.count, places)) > MOST_PLACES:
                raise BadInput(f"{field.name}: from elsewhere, give each place at most {MOST_PLACES} times")
    for inner in _parts_of(part):
        check_remote(inner)


def check_counts(part: Any) -> None:
    """Raise BadInput where a whole number in a part, or in one inside it, is too large. Seeds may be."""
    for field in fields(part) if is_dataclass(part) else ():
        value = getattr(part, field.name)
        if isinstance(value, int) and value > MOST_TYPED and field.name != "seed":
            raise BadInput(f"{field.name}={value}: give at most {MOST_TYPED}")
    for inner in _parts_of(part):
        check_counts(inner)


def _parts_of(part: Any) -> Iterator[Any]:
    """The parts in the fields of a part: all but plain records."""
    for f in fields(part) if is_dataclass(part) else ():
        value = getattr(part, f.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if is_dataclass(inner) and not isinstance(inner, type | Sampling | Budget):
                yield inner


WOULD_DO = {
    Can.LOGPROBS: "an endpoint whose log-probabilities `outthink probe` finds true",
    Can.SCORE: "an endpoint with echo or prompt_logprobs, such as vLLM or SGLang",
    Can.PEEK: "an endpoint with top_logprobs",
    Can.REWIND: "an endpoint that continues a text: /completions, or chat with continue_final_message",
}


def check_needs(part: Any, can: Can, name: str) -> None:
    """Raise CannotDo, before a token is spent, if a backend lacks something; says what, and what would do."""
    lacking = needs_of(part) & ~can
    if lacking:
        what = ", ".join(str(flag.name).lower() for flag in lacking)
        others = [WOULD_DO[flag] for flag in lacking if flag in WOULD_DO]
        hint = f"; so can {others[0]}" if len(others) == len(list(lacking)) == 1 else ""
        raise CannotDo(f"{part!r} needs {what}, which {name} cannot do; a local model can{hint}")
