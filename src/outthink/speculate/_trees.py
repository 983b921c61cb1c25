"""The shapes of draft trees, grown from a function that says what may come next.

chain        the likeliest child of the likeliest child ...
(4, 2, 1)    fixed: 4 guesses for the next token, 2 below each, 1 below those
best_nodes   the n nodes of largest path probability: the tree of n nodes with the most expected tokens,
             because a child is never likelier than its parent (OPT-Tree; DySpec)
draws        a fixed shape whose siblings are drawn without replacement by Gumbel-top-k, for accept rules
             that weigh draws (recursive speculative decoding)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

from outthink.core.rng import Chance
from outthink.core.types import Draft
from outthink.speculate._rates import Guess

LEAST = 0.03  # nodes that are less likely to be accepted are not drafted, but for one
Shape = str | tuple[int, ...]


class Child(NamedTuple):
    """What may come next: how likely once its parent is accepted, what kind of guess, and what is below."""

    token: int
    p: float
    kind: int
    state: Any


Expand = Callable[[Any], Iterable[Child]]  # from a state to what may come next, likeliest first


def check_shape(shape: Shape, n: int) -> None:
    """Raise ValueError for a shape that is none, or no nodes at all."""
    if n < 1:
        raise ValueError(f"n={n}: give at least 1")
    if isinstance(shape, str):
        if shape not in ("chain", "best_nodes"):
            raise ValueError(f"shape={shape!r}: give 'chain', 'best_nodes' or widths such as (4, 2, 1)")
    elif not shape or not all(isinstance(w, int) and w >= 1 for w in shape):
        raise ValueError(f"shape={shape!r}: give widths of at least 1, such as (4, 2, 1)")


def grow(shape: Shape, expand: Expand, root: Any, depth: int, nodes: int, by: str) -> Guess | None:
    """A tree of that shape below `root`, at most `depth` deep, of at most `nodes` nodes; None for none."""
    if shape == "best_nodes":
        return best_nodes(expand, root, depth, nodes, by)
    widths = (1,) * depth if isinstance(shape, str) else shape[:depth]
    return fixed(widths, expand, root, nodes, by)


def best_nodes(expand: Expand, root: Any, depth: int, nodes: int, by: str) -> Guess | None:
    """The `nodes` nodes of largest path probability, ties to the one found first."""
    tokens: list[int] = []
    parents: list[int] = []
    conf: list[float] = []
    kinds: list[int] = []
    open_: list[tuple[float, int, int, int, Child]] = []  # -path probability, order, parent, depth, child
    count, at, p, level, state = 0, -1, 1.0, 1, root
    while True:
        if level <= depth:
            for child in expand(state):
                path = p * child.p
                if path >= LEAST or count == 0:
                    heappush(open_, (-path, count, at, level, child))
                    count += 1
        if not open_ or len(tokens) >= nodes:
            break
        negative, _, parent, level, child = heappop(open_)
        at, p, level, state = len(tokens), -negative, level + 1, child.state
        tokens.append(child.token)
        parents.append(parent)
        conf.append(child.p)
        kinds.append(child.kind)
    if not tokens:
        return None
    return Guess(Draft(tuple(tokens), tuple(parents), tuple(conf), by=by), kinds)


def fixed(widths: Sequence[int], expand: Expand, root: Any, nodes: int, by: str) -> Guess | None:
    """`widths[d]` guesses below every node of depth d, level by level."""
    found: list[tuple[int, Child]] = []
    level: list[tuple[int, Any]] = [(-1, root)]
    for width in widths:
        below: list[tuple[int, Any]] = []
        for parent, state in level:
            for child in list(expand(state))[: min(width, nodes - len(found))]:
                below.append((len(found), child.state))
                found.append((parent, child))
        level = below
    if not found:
        return None
    draft = Draft(
        tuple(c.token for _, c in found),
        tuple(parent for parent, _ in found),
        tuple(c.p for _, c in found),
        by=by,
    )
    return Guess(draft, [c.kind for _, c in found])


def draws(
    widths: Sequence[int], expand: Expand, root: Any, nodes: int, by: str, chance: Chance, index: int
) -> Guess | None:
    """Siblings drawn without replacement: child j of a node comes from what is left without 1 .. j-1.

    `chance` is used at `index` and the next `nodes`; nothing is cut by its own probability, because a rule
    that weighs draws must hear of all of them.
    """
    tokens: list[int] = []
    parents: list[int] = []
    conf: list[float] = []
    kinds: list[int] = []
    dists: list[Mapping[int, float]] = []
    level: list[tuple[int, Any]] = [(-1, root)]
    for width in widths:
        below: list[tuple[int, Any]] = []
        for parent, state in level:
            likely = list(expand(state))
            take = min(width, nodes - len(tokens), len(likely))
            if take <= 0:
                continue
            logq = {c.token: math.log(c.p) for c in likely}
            for i in chance.subset(list(logq.values()), take, index + parent + 1):
                child, total = likely[i], math.log(math.fsum(map(math.exp, logq.values())))
                dists.append({token: q - total for token, q in logq.items()})
                conf.append(math.exp(logq.pop(child.token) - total))
                below.append((len(tokens), child.state))
                tokens.append(child.token)
                parents.append(parent)
                kinds.append(child.kind)
        level = below
    if not tokens:
        return None
    return Guess(Draft(tuple(tokens), tuple(parents), tuple(conf), tuple(dists), by), kinds)
