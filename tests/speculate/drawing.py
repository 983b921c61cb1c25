"""A drafter that draws: from a distribution of its own, as a chain or a tree, and says from what."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Studio, Tip
from outthink.core.rng import Chance

Logq = Callable[[tuple[int, ...]], list[float]]  # prefix -> log-probabilities to draft from


def normal(row: list[float]) -> list[float]:
    total = math.log(math.fsum(map(math.exp, row)))
    return [x - total for x in row]


@dataclass(frozen=True)
class Drawing:
    """Draw `widths[d]` children of every node of depth d, with or without replacement."""

    logq: Logq = field(repr=False)
    widths: tuple[int, ...] = (1, 1)
    is_replacing: bool = False
    cut: Callable[[Draft], Draft | None] = field(default=lambda draft: draft, repr=False)

    def open(self, studio: Studio) -> DrawingSource:
        return DrawingSource(self, studio)


@dataclass(eq=False)
class DrawingSource:
    config: Drawing
    studio: Any
    name: str = "drawing"
    tops: int = 0

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        chance, start = self.studio.chance(tip), len(tip.tokens) * 64
        tokens: list[int] = []
        parents: list[int] = []
        dists: list[list[float]] = []
        level: list[tuple[int, tuple[int, ...]]] = [(-1, tuple(tip.tokens))]
        for width in self.config.widths[:depth]:
            below = []
            for parent, prefix in level:
                for token, dist in self._siblings(chance, start + 8 * (parent + 1), prefix, width):
                    if len(tokens) < nodes:
                        below.append((len(tokens), (*prefix, token)))
                        tokens.append(token)
                        parents.append(parent)
                        dists.append(dist)
            level = [entry for entry in below if entry[1][-1] not in tip.ends]
        if not tokens:
            return None
        return self.config.cut(Draft(tuple(tokens), tuple(parents), (), tuple(dists), self.name))

    def _siblings(self, chance: Chance, index: int, prefix: tuple[int, ...], width: int) -> Any:
        logq = normal(self.config.logq(prefix))
        if self.config.is_replacing:
            return [(chance.draw(logq, index + i), logq) for i in range(width)]
        found = []
        for token in chance.subset(logq, width, index):
            left = [-math.inf if t in [f[0] for f in found] else q for t, q in enumerate(logq)]
            found.append((token, normal(left)))
        return found

    def observe(self, tip: Tip, outcome: Outcome) -> None: ...

    def end(self, tip: Tip) -> None: ...
