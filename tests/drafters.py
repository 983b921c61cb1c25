"""Drafters for tests: good ones, wild ones and broken ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Studio, Tip
from outthink.core.rng import digest


@dataclass(eq=False)
class Listening:
    """A source that asks a function, and remembers what it hears."""

    ask: Callable[[Tip, int, int], Any]
    name: str = "test"
    tops: int = 0
    heard: list[Outcome] = field(default_factory=list)
    ended: int = 0

    def propose(self, tip: Tip, depth: int, nodes: int) -> Any:
        return self.ask(tip, depth, nodes)

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        self.heard.append(outcome)

    def end(self, tip: Tip) -> None:
        self.ended += 1


@dataclass(frozen=True)
class Asking:
    """A drafter made of a function."""

    ask: Callable[[Tip, int, int], Any] = field(repr=False)
    tops: int = 0
    sources: list[Listening] = field(default_factory=list, repr=False, compare=False)

    def open(self, studio: Studio) -> Listening:
        source = Listening(self.ask, tops=self.tops)
        self.sources.append(source)
        return source


def wild(vocab: int, most: int = 6, seed: int = 0) -> Callable[[Tip, int, int], Draft | None]:
    """Trees of any shape with any tokens, ends of text and duplicates among them; sometimes none."""

    def ask(tip: Tip, depth: int, nodes: int) -> Draft | None:
        n = digest(seed, tuple(tip.tokens)) % (min(nodes, most) + 1)
        if n == 0:
            return None
        numbers = [digest(seed, tuple(tip.tokens), i) for i in range(n)]
        tokens = tuple(number % vocab for number in numbers)
        return Draft(tokens, tuple((number >> 20) % (i + 1) - 1 for i, number in enumerate(numbers)))

    return ask
