"""What accept rules that weigh draws share: distributions as arrays, and draws from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from outthink.core.draft import Draft
from outthink.core.drafting import Accepted, Target
from outthink.core.rng import Chance

Row = np.ndarray[Any, np.dtype[np.float64]]
ROUNDING = 1e-3  # by which the probabilities that a draft was drawn from may miss 1
DENSE = 64  # up to so many tokens one draw weighs all; above it first a block is drawn, then a token in it


def target_row(target: Target, node: int) -> Row:
    """p: [vocab] probabilities of the token after a node."""
    return np.exp(np.asarray(target.row(node), np.float64))


def draft_row(draft: Draft, node: int, vocab: int) -> Row:
    """q: [vocab] probabilities that a node was drawn from; a guess that was not drawn had probability 1."""
    dist = draft.dists[node] if draft.dists else None
    q = np.zeros(vocab)
    if dist is None:
        q[draft.tokens[node]] = 1.0
    elif isinstance(dist, Mapping):
        q[list(dist)] = np.exp(list(dist.values()))
    else:
        q[:] = np.exp(np.asarray(dist, np.float64))
    return q


def unsound(draft: Draft, vocab: int) -> str:
    """What is wrong with the distributions that a draft says it was drawn from, if anything."""
    for node, token in enumerate(draft.tokens if draft.dists else ()):
        try:
            q = draft_row(draft, node, vocab)
        except (TypeError, ValueError, IndexError) as error:
            return f"dists[{node}] gives no log-probabilities of {vocab} tokens: {error}"
        if not (abs(q.sum() - 1.0) < ROUNDING and q[token] > 0):
            return f"dists[{node}] is no distribution that token {token} was drawn from"
    return ""


def ratio(p: float, q: float) -> float:
    """min(1, p / q): how likely a token is accepted."""
    return 1.0 if p >= q else p / q


def residual(p: Row, q: Row) -> Row:
    """What is left to draw from once a draw from q was rejected: max(p - q, 0), normalised."""
    left = np.maximum(p - q, 0.0)
    total = left.sum()
    return left / total if total > 0 else p  # p is q but for rounding


def pick(chance: Chance, weights: Row, index: int) -> int:
    """One token with probability proportional to its weight; uses `chance` at 2 index and 2 index + 1."""
    if len(weights) <= DENSE:
        return chance.draw(_logs(weights), 2 * index)
    width = math.isqrt(len(weights) - 1) + 1
    blocks = np.pad(weights, (0, -len(weights) % width)).reshape(-1, width)
    block = chance.draw(_logs(blocks.sum(1)), 2 * index)
    return block * width + chance.draw(_logs(blocks[block]), 2 * index + 1)


def _logs(weights: Row) -> list[float]:
    with np.errstate(divide="ignore"):
        logs: list[float] = np.log(weights).tolist()
    return logs


def children(draft: Draft) -> dict[int, list[int]]:
    """The nodes below each node, in the order of the draft."""
    below: dict[int, list[int]] = {}
    for node, parent in enumerate(draft.parents):
        below.setdefault(parent, []).append(node)
    return below


def first_path(draft: Draft) -> list[int]:
    """The chain of first children of a draft."""
    below, at, chain = children(draft), -1, list[int]()
    while at in below:
        at = below[at][0]
        chain.append(at)
    return chain


def walk(
    target: Target,
    draft: Draft,
    below: Mapping[int, list[int]],
    chance: Callable[[str], Chance],
    position: int,
) -> Accepted:
    """Go down from the tip while a child is accepted; what the rejected ones leave is drawn from."""
    accept = chance("accept")
    path: list[int] = []
    at = -1
    while True:
        p = target_row(target, at)
        index, taken = position + len(path), -1
        for sibling, node in enumerate(below.get(at, ())):
            q, token = draft_row(draft, node, len(p)), draft.tokens[node]
            if accept.flip(ratio(p[token], q[token]), index, sibling):
                taken = node
                break
            p = residual(p, q)
        if taken < 0:
            return Accepted(tuple(path), pick(chance("token"), p, index))
        if not target.has(taken):  # accepted, but the pass had no room to look beyond it
            return Accepted(tuple(path), draft.tokens[taken])
        path.append(taken)
        at = taken
