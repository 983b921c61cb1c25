"""Which nodes of many drafts ride in one pass: one choice for the whole batch.

A pass of r rows takes v(r) and is expected to write (one token per branch + the sum over chosen nodes of the
probability that they are accepted). Sorted by that probability, the best choice for every number of rows is a
prefix; the prefix with the most expected tokens per second is taken (TETRIS, methods row 054, with v measured
instead of a fixed capacity; within one branch it is the tree of OPT-Tree and DySpec, rows 330 and 381).
A node that branches have in common is one row and writes for each: its probabilities add.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from outthink.core.draft import Draft, path_probabilities

NOTHING = Draft((), ())


class Times(Protocol):
    """`v[r]`: the time of a pass of r rows."""

    def __getitem__(self, rows: int, /) -> float: ...


def choose(
    drafts: Sequence[Draft], tips: Sequence[Hashable], branches: int, rows: int, room: int, v: Times
) -> list[Draft]:
    """Each draft cut to its chosen nodes, maybe none. `rows` are in the pass anyway and write `branches`.

    `tips[i]` is where draft i begins: what drafts from one place have in common is one row that writes for
    all of them. `v` is asked for up to rows + room.
    """
    places, weights = _shared(drafts, tips)
    order = sorted(range(len(weights)), key=lambda place: -weights[place])[: max(room, 0)]
    expected, best, count = float(branches), branches / v[rows], 0
    for taken, place in enumerate(order, 1):
        expected += weights[place]
        if expected / v[rows + taken] > best:
            best, count = expected / v[rows + taken], taken
    chosen = set(order[:count])
    return [
        _kept(draft, [node for node, place in enumerate(mine) if place in chosen])
        for draft, mine in zip(drafts, places, strict=True)
    ]


def _shared(drafts: Sequence[Draft], tips: Sequence[Hashable]) -> tuple[list[list[int]], list[float]]:
    """(of each draft the place of each of its nodes among all, what each place is expected to write).

    A place comes after the one above it and weighs no more: the heaviest ones are whole trees.
    """
    known: dict[tuple[Hashable, int], int] = {}  # by (tip or place above, token)
    places: list[list[int]] = []
    weights: list[float] = []
    for draft, tip in zip(drafts, tips, strict=True):
        mine: list[int] = []
        for token, parent, likely in zip(draft.tokens, draft.parents, path_probabilities(draft), strict=True):
            place = known.setdefault(((tip,) if parent < 0 else mine[parent], token), len(weights))
            if place == len(weights):
                weights.append(0.0)
            weights[place] += likely
            mine.append(place)
        places.append(mine)
    return places, weights


def _kept(draft: Draft, nodes: list[int]) -> Draft:
    if len(nodes) == len(draft.tokens):
        return draft
    return draft.keep(nodes) if nodes else NOTHING
