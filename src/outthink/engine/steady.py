"""The common pass, made from the one before it: every branch writes one token more.

Most passes differ from the last one by one token a row. As long as the same branches wait and the tree keeps
its shape, the next batch is the last one moved on by a slot and a position; anything else goes the long way
through `Place`. Both make the same batch (tested).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outthink.core.batch import Batch, Segment
from outthink.engine.stretch import Stretch

if TYPE_CHECKING:
    from outthink.core.tree import Node, Tree
    from outthink.engine.place import Plan, Work


class Steady:
    """One decode row for each of `works`, in the batch's order, and the batch that was made last."""

    __slots__ = ("works", "rows", "nodes", "batch", "version", "left", "leaves")

    def __init__(
        self, works: list[Work], rows: list[Stretch], nodes: list[Node], batch: Batch, tree: Tree
    ) -> None:
        self.works = works  # as they wait
        self.rows = rows  # as they lie in the batch
        self.nodes = nodes
        self.batch = batch
        self.version = tree.version
        self.left = min(node.cap - len(node.tokens) for node in nodes)  # steps until a node needs more slots
        self.leaves = list(batch.segment)

    @classmethod
    def after(cls, plan: Plan, batch: Batch, works: list[Work], tree: Tree) -> Steady | None:
        """What a planned pass leads to, if it is all decode steps, one row and one leaf each."""
        if {len(plan.draws), len(batch.tokens), len(batch.wanted), len(plan.ranges)} != {len(works)}:
            return None
        if plan.reads or plan.again:
            return None
        owner = {id(node): stretch for stretch, at, node, _ in plan.draws if at < 0}
        nodes = [node for node in plan.ranges if not node.children and id(node) in owner]
        if len(nodes) != len(works):
            return None
        place = {node.start + len(node.tokens) - 1: node for node in nodes}
        ordered = [place.get(slot) for slot in batch.slots]
        found = [node for node in ordered if node is not None]
        if len(found) != len(works):
            return None
        return cls(works, [owner[id(node)] for node in found], found, batch, tree)

    def is_valid(self, works: dict[Work, None], tree: Tree) -> bool:
        """Whether the next pass is this one moved on."""
        if self.left < 1 or tree.version != self.version or len(works) != len(self.works):
            return False
        if any(one is not other for one, other in zip(works, self.works, strict=True)):
            return False
        return all(len(node.tokens) - node.computed == 1 for node in self.nodes)

    def step(self) -> Batch:
        """The next batch."""
        old, segments = self.batch, list(self.batch.segments)
        for at in self.leaves:
            parent, start, length = segments[at]
            segments[at] = Segment(parent, start, length + 1)
        self.left -= 1
        self.batch = Batch(
            [node.tokens[-1] for node in self.nodes],
            [position + 1 for position in old.positions],
            [slot + 1 for slot in old.slots],
            old.segment,
            [seen + 1 for seen in old.visible],
            old.wanted,
            segments,
        )
        return self.batch
