"""From what must be computed to one packed pass: spans of tree nodes -> rows and segments. Integers only."""

from __future__ import annotations

from collections.abc import Mapping

from outthink.core.batch import Batch, Segment
from outthink.core.tree import Node

Place = tuple[Node, int]  # a node, and how many of its tokens: the row of its last one


def pack(planned: Mapping[Node, list[tuple[int, int]]], wanted: set[Place]) -> tuple[Batch, dict[Place, int]]:
    """Rows for all planned token ranges, depth first, and where in `Batch.wanted` each wanted row is.

    `planned[node]` are ranges [low, high) of the node's tokens, slots reserved. A segment ends where the
    last row or the last descendant needs it.
    """
    below, roots = _skeleton(planned)
    batch = Batch()
    where: dict[Place, int] = {}
    stack = [(node, -1) for node in reversed(roots)]
    while stack:
        node, parent = stack.pop()
        index = len(batch.segments)
        children = below.get(node)
        ranges = planned.get(node)
        length = len(node.tokens) if children else max(high for _, high in ranges or [(0, 0)])
        batch.segments.append(Segment(parent, node.start, length))
        if ranges and len(ranges) == 1 and ranges[0][1] - ranges[0][0] == 1:
            _row(batch, node, index, ranges[0][1], wanted, where)
        elif ranges:
            _rows(batch, node, index, ranges, wanted, where)
        if children:
            stack.extend((child, index) for child in reversed(children))
    return batch, where


def _skeleton(planned: Mapping[Node, list[tuple[int, int]]]) -> tuple[dict[Node, list[Node]], list[Node]]:
    """The planned nodes and all of their ancestors: children of each, and the top ones."""
    below: dict[Node, list[Node]] = {}
    roots: list[Node] = []
    known: set[Node] = set()
    for node in planned:
        at = node
        while at not in known:
            known.add(at)
            parent = at.parent
            if parent is None or not parent.tokens:
                roots.append(at)
                break
            below.setdefault(parent, []).append(at)
            at = parent
    return below, roots


def _row(
    batch: Batch, node: Node, index: int, upto: int, wanted: set[Place], where: dict[Place, int]
) -> None:
    """The same as `_rows` for one row: a decode step."""
    at = upto - 1
    if (node, upto) in wanted:
        where[(node, upto)] = len(batch.wanted)
        batch.wanted.append(len(batch.tokens))
    batch.tokens.append(node.tokens[at])
    batch.positions.append(node.first + at)
    batch.slots.append(node.start + at)
    batch.segment.append(index)
    batch.visible.append(upto)


def _rows(
    batch: Batch,
    node: Node,
    index: int,
    ranges: list[tuple[int, int]],
    wanted: set[Place],
    where: dict[Place, int],
) -> None:
    for low, high in union(ranges):
        batch.tokens += node.tokens[low:high]
        batch.positions += range(node.first + low, node.first + high)
        batch.slots += range(node.start + low, node.start + high)
        batch.segment += [index] * (high - low)
        batch.visible += range(low + 1, high + 1)
        first = len(batch.tokens) - (high - low) - low - 1
        for upto in range(low + 1, high + 1):
            if (node, upto) in wanted:
                where[(node, upto)] = len(batch.wanted)
                batch.wanted.append(first + upto)


def union(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges merged and in order."""
    if len(ranges) == 1:
        return ranges
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out
