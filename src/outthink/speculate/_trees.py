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
from typing import Any

from outthink.core.draft import Draft
from outthink.core.rng import Chance
from outthink.speculate._rates import Guess

LEAST = 0.03  # nodes that are less likely to be accepted are not drafted, but for one
Shape = str | tuple[int, ...]


# what may come next: the token, how likely once its parent is accepted, what kind of guess, what is below
Child = tuple[int, float, int, Any]
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
    """The `nodes` nodes of largest path probability, ties to the one found first.

    A node that was taken waits in the same heap, as itself, until no guess is likelier: only then is it asked
    what comes next.
    """
    tokens: list[int] = []
    parents: list[int] = []
    conf: list[float] = []
    kinds: list[int] = []
    count = 0
    # -path probability, order, parent, its depth, and a child of it; without a child, what is below is open
    heap: list[tuple[float, int, int, int, Child | None, Any]] = [(-1.0, 0, -1, 0, None, root)]
    while heap and len(tokens) < nodes:
        negative, _, parent, level, child, state = heappop(heap)
        if child is None:
            for found in expand(state):
                path = negative * found[1]
                if path <= -LEAST or not count:
                    count += 1
                    heappush(heap, (path, count, parent, level + 1, found, None))
            continue
        token, likely, kind, state = child
        if level < depth:
            count += 1
            heappush(heap, (negative, count, len(tokens), level, None, state))
        tokens.append(token)
        parents.append(parent)
        conf.append(likely)
        kinds.append(kind)
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
                below.append((len(found), child[3]))
                found.append((parent, child))
        level = below
    if not found:
        return None
    draft = Draft(
        tuple(child[0] for _, child in found),
        tuple(parent for parent, _ in found),
        tuple(child[1] for _, child in found),
        by=by,
    )
    return Guess(draft, [child[2] for _, child in found])


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
            logq = {child[0]: math.log(child[1]) for child in likely}
            for i in chance.subset(list(logq.values()), take, index + parent + 1):
                token, _, kind, under = likely[i]
                total = math.log(math.fsum(map(math.exp, logq.values())))
                dists.append({other: q - total for other, q in logq.items()})
                conf.append(math.exp(logq.pop(token) - total))
                below.append((len(tokens), under))
                tokens.append(token)
                parents.append(parent)
                kinds.append(kind)
        level = below
    if not tokens:
        return None
    return Guess(Draft(tuple(tokens), tuple(parents), tuple(conf), tuple(dists), by), kinds)
