"""A small tree that is known by heart, a verifier that says what is written down, and a look inside searches.

Q -+- a -+- c -+- x        every line but the last ends in a line break, the last in the end of the text;
   |     |     +- y        each line is equally likely, and the likelier one at temperature 0 is the first
   |     +- d ...          (x and c and a have a little more)
   +- b -+- c ...
         +- d ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from outthink.backends.toy import ALPHABET, scripted, toy
from outthink.core.problem import Problem
from outthink.core.types import Answer, Budget, Candidate, Sampling, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import _search
from outthink.strategy._steps import Node

VOCAB = len(ALPHABET)
MANY = 24  # samples that find both of two lines: all but 2 * 0.52 ** 24 of the time
TABLE = {
    "Q": {"a": 0.52, "b": 0.48},
    **{f"{x}\n": {"c": 0.52, "d": 0.48} for x in "ab"},
    **{f"{x}\n": {"x": 0.52, "y": 0.48} for x in "cd"},
    **{x: {"\n": 1.0} for x in "abcd"},
    **{x: {".": 1.0} for x in "xy"},
}
VALUES = {
    "a\n": 0.6,
    "b\n": 0.5,
    "a\nc\n": 0.4,
    "a\nd\n": 0.3,
    "b\nc\n": 0.9,
    "b\nd\n": 0.2,
    "a\nc\nx": 0.1,
    "a\nc\ny": 0.2,
    "a\nd\nx": 1.0,
    "a\nd\ny": 0.0,
    "b\nc\nx": 0.8,
    "b\nc\ny": 0.7,
    "b\nd\nx": 0.3,
    "b\nd\ny": 0.95,
}
LEAVES = [text for text in VALUES if text[-1] in "xy"]


@dataclass(frozen=True)
class Told:
    """Says what is written down, and keeps a log of its batches."""

    values: dict[str, float] = field(default_factory=lambda: VALUES)
    log: list[list[str]] = field(default_factory=list, compare=False)
    records = ()

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        self.log.append(sorted(c.text for c in candidates))
        return [Score(self.values[c.text]) for c in candidates]


def backend() -> Any:
    return toy(scripted(TABLE, VOCAB), VOCAB)


def run(strategy: Any, **options: Any) -> Answer:
    """The answer on the golden tree, from an engine of its own."""
    budget = Budget(**options.pop("budget", {}))
    sampling = options.pop("sampling", Sampling(temperature=1.0))
    engine = Engine(options.pop("backend", backend)(), slots=4000)
    return engine.run(Request(strategy, Problem("Q"), budget=budget, sampling=sampling, **options))


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[_search.Search]]:
    """Every search that is made, to be looked into when it is over."""
    made: list[_search.Search] = []
    begin = _search.Search.__init__

    def watched(self: _search.Search, root: Any, part: Any) -> None:
        begin(self, root, part)
        made.append(self)

    monkeypatch.setattr(_search.Search, "__init__", watched)
    yield made


def nodes(root: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield root
    for child in root.children:
        yield from nodes(child)
