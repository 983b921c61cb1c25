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

__all__ = [
    "NOUNS",
    "Description",
    "Named",
    "describe",
    "find",
    "name_of",
    "names",
    "parse",
    "parse_budget",
    "parse_list",
    "parse_named",
    "parse_one",
    "show",
]
