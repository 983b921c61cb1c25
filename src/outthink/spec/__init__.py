"""The configuration language: `best_of_n(n=8, verifier=steps())` is a part, and a part prints as that."""

from outthink.spec.budget import parse_budget
from outthink.spec.families import NOUNS, find, name_of, names
from outthink.spec.language import (
    Description,
    Named,
    describe,
    parse,
    parse_list,
    parse_named,
    parse_one,
    show,
)
from outthink.spec.own import add_parts, family_of, own_parts

__all__ = [
    "NOUNS",
    "Description",
    "Named",
    "add_parts",
    "describe",
    "family_of",
    "find",
    "name_of",
    "names",
    "own_parts",
    "parse",
    "parse_budget",
    "parse_list",
    "parse_named",
    "parse_one",
    "show",
]
