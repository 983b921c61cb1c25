"""Which nodes of many drafts ride in one pass: one choice for the whole batch.

A pass of r rows takes v(r) and is expected to write (one token per branch + the sum over chosen nodes of the
probability that they are accepted). Sorted by that probability, the best choice for every number of rows is a
prefix; the prefix with the most expected tokens per second is taken (TETRIS, methods row 054, with v measured
instead of a fixed capacity; within one branch it is the tree of OPT-Tree and DySpec, rows 330 and 381).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from outthink.core.draft import Draft, path_probabilities

NOTHING = Draft((), ())


class Times(Protocol):
    """`v[r]`: the time of a pass of r rows."""

    def __getitem__(self, rows: int, /) -> float: ...


def choose(drafts: Sequence[Draft], branches: int, rows: int, room: int, v: Times) -> list[Draft]:
    """Each draft cut to its chosen nodes, maybe none. `rows` are in the pass anyway and write `branches`.

    `v` is asked for up to rows + room.
    """
    nodes = sorted(
        ((-p, i, node) for i, draft in enumerate(drafts) for node, p in enumerate(path_probabilities(draft))),
    )[: max(room, 0)]
    expected, best, count = float(branches), branches / v[rows], 0
    for taken, (negative, _, _) in enumerate(nodes, 1):
        expected -= negative
        if expected / v[rows + taken] > best:
            best, count = expected / v[rows + taken], taken
    chosen: list[list[int]] = [[] for _ in drafts]
    for _, i, node in nodes[:count]:
        chosen[i].append(node)
    return [_kept(draft, sorted(nodes)) for draft, nodes in zip(drafts, chosen, strict=True)]


def _kept(draft: Draft, nodes: list[int]) -> Draft:
    if len(nodes) == len(draft.tokens):
        return draft
    return draft.keep(nodes) if nodes else NOTHING
