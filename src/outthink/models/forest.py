"""The forest of a batch as the planner sees it: nodes with rows below, chains with the same rows in one."""

from __future__ import annotations

from dataclasses import dataclass, field

from outthink.core.batch import Batch
from outthink.models.items import Extent


@dataclass(slots=True)
class Node:
    """Rows `[first, last)`, which all see `extents`; some sit in `square`, the others see all of it."""

    first: int
    last: int
    extents: list[Extent]
    square: Extent | None = None
    visible: list[int] = field(
        default_factory=list
    )  # of rows first, first + 1, ...: how much of square each sees
    kids: list[Node] = field(default_factory=list)
    slots: int = 0  # distinct slots in the subtree
    nodes: int = 1
    cost: float = 0.0
    way: str = "split"

    @property
    def rows(self) -> int:
        return self.last - self.first


def thread_of(batch: Batch, row: int) -> list[Extent]:
    """The extents that one row sees, in order."""
    at = batch.segment[row]
    chain = [Extent(batch.segments[at].start, batch.visible[row])]
    while (at := batch.segments[at].parent) >= 0:
        _prepend(chain, Extent(batch.segments[at].start, batch.segments[at].length))
    return chain


def _prepend(chain: list[Extent], extent: Extent) -> None:
    """Put an extent before a chain; neighbours in memory become one."""
    if not extent.length:
        return
    if chain and extent.start + extent.length == chain[0].start:
        chain[0] = Extent(extent.start, extent.length + chain[0].length)
    else:
        chain.insert(0, extent)


def forest_of(batch: Batch) -> list[Node]:
    """Nodes of the segments that have rows at or below them; chains with the same rows become one node."""
    own = _own_rows(batch)
    kids: dict[int, list[Node]] = {}
    for at in range(len(batch.segments) - 1, -1, -1):
        below = kids.pop(at, [])
        if at in own or below:
            node = _node(batch, at, own.get(at), below[::-1])
            kids.setdefault(batch.segments[at].parent, []).append(node)
    return kids.get(-1, [])[::-1]


def _own_rows(batch: Batch) -> dict[int, range]:
    """The rows that sit in each segment."""
    own: dict[int, range] = {}
    for row, (at, visible) in enumerate(zip(batch.segment, batch.visible, strict=True)):
        if not 0 < visible <= batch.segments[at].length:
            raise ValueError(
                f"row {row} sees {visible} of the {batch.segments[at].length} slots of its segment"
            )
        seen = own.get(at)
        if seen is not None and seen.stop != row:
            raise ValueError(f"rows of segment {at} are not neighbours: {seen} and {row}")
        own[at] = range(row if seen is None else seen.start, row + 1)
    return own


def _node(batch: Batch, at: int, own: range | None, kids: list[Node]) -> Node:
    """The node of one segment above the nodes below it."""
    _, start, length = batch.segments[at]
    if own is not None and not kids and len(own) == 1:
        seen = batch.visible[own.start]
        return Node(own.start, own.stop, [Extent(start, seen)], slots=seen)
    kids.sort(key=_first_row)
    _check_order(at, own, kids)
    if own is None:
        if len(kids) == 1:
            _prepend(kids[0].extents, Extent(start, length))
            kids[0].slots += length
            return kids[0]
        return _measured(
            Node(kids[0].first, kids[-1].last, [Extent(start, length)] if length else [], kids=kids)
        )
    visible = batch.visible[own.start : own.stop]
    last = kids[-1].last if kids else own.stop
    # What all rows see comes first; the rest is a square in which own rows see a part and rows below see all.
    shared = min(visible) - 1
    seen = length if kids else max(visible)
    node = Node(own.start, last, [Extent(start, shared)] if shared else [], kids=kids)
    node.square = Extent(start + shared, seen - shared)
    node.visible = [count - shared for count in visible]
    return _measured(node)


def _first_row(node: Node) -> int:
    return node.first


def _check_order(at: int, own: range | None, kids: list[Node]) -> None:
    """Rows below a segment must be one range, its own rows first."""
    stop = own.stop if own else kids[0].first
    for kid in kids:
        if kid.first != stop:
            raise ValueError(f"rows below segment {at} are not one range in depth-first order")
        stop = kid.last


def _measured(node: Node) -> Node:
    """Fill in slots and nodes of the subtree."""
    own = sum(extent.length for extent in node.extents) + (node.square.length if node.square else 0)
    node.slots = own + sum(kid.slots for kid in node.kids)
    node.nodes = 1 + len(node.visible) + sum(kid.nodes for kid in node.kids)
    return node


def parents_first(roots: list[Node]) -> list[Node]:
    """All nodes, every node before the nodes below it."""
    order = list(roots)
    for node in order:
        order += node.kids
    return order
