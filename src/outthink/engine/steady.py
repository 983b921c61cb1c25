"""The common pass, made from the one before it: every branch writes one token more.

Most passes differ from the last one by one token a row. As long as the same branches wait and the tree keeps
its shape, the next batch is the last one moved on by a slot and a position; all else goes the long way
through `Place`. Both make the same batch (tested).

Where nobody needs to look in between, one job has several such steps. It ends with the first step that may
end a text, or that parts two branches that were equal so far, so what follows from that follows after the
same pass as without.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from outthink.core.batch import Batch
from outthink.engine.stretch import Stretch

if TYPE_CHECKING:
    from outthink.core.tree import Node, Tree
    from outthink.engine.ends import Ends
    from outthink.engine.flight import Plan, Work
    from outthink.engine.lull import Lull
    from outthink.engine.speculator import Speculator

MOST_STEPS = 16  # in one job
LONGEST = 0.032  # seconds of a job of several steps: so late may whoever comes meanwhile be


class Steady:
    """One decode row for each of `works`, or for several that have written the same; the last batch."""

    __slots__ = (
        *("works", "rows", "places", "nodes", "batch", "version", "left", "moved", "pace", "ends"),
        *("lull", "_speculators"),
    )

    def __init__(
        self,
        works: list[Work],
        rows: list[list[Stretch]],
        nodes: list[Node],
        batch: Batch,
        tree: Tree,
        ends: Ends,
        lull: Lull,
    ) -> None:
        self.works = works  # as they wait
        self.rows = [stretch for row in rows for stretch in row]  # as their draws come
        self.places = [i for i, row in enumerate(rows) for _ in row]  # the row of each
        self.nodes = nodes  # by row
        self.batch = batch
        self.version = tree.version
        self.left = min(node.cap - len(node.tokens) for node in nodes)  # steps until a node needs more slots
        self.moved = 1  # steps since `batch`
        self.pace = 0.0  # seconds of a step; 0: not known
        are_plain = not any(s.warps or s.task.contestant for s in self.rows)
        self.ends = ends.of(self.rows) if are_plain else None  # None: one step at a time
        self.lull = lull
        self._speculators: Counter[Speculator] | None = None  # and their branches; None: nobody has asked

    @classmethod
    def after(
        cls, plan: Plan, batch: Batch, works: list[Work], tree: Tree, ends: Ends, lull: Lull
    ) -> Steady | None:
        """What a planned pass leads to, if each wanted row is the last of a leaf of its own, all others rows
        of these leaves: decode steps, or texts that catch up."""
        count = len(batch.wanted)
        if len(plan.ranges) != count or len(plan.draws) != len(works):
            return None
        if plan.reads or plan.again or plan.heard:
            return None
        owners: dict[int, list[Stretch]] = {}
        for stretch, at, node, _ in plan.draws:
            if at >= 0:
                return None
            owners.setdefault(id(node), []).append(stretch)
        nodes = [node for node in plan.ranges if not node.children and id(node) in owners]
        place = {node.start + len(node.tokens) - 1: node for node in nodes}
        if len(batch) > count:
            batch = batch.only(batch.wanted)
        ordered = [place.get(slot) for slot in batch.slots]
        found = [node for node in ordered if node is not None]
        if not len(found) == len(owners) == count:
            return None
        return cls(works, [owners[id(node)] for node in found], found, batch, tree, ends, lull)

    def is_valid(self, works: dict[Work, None], tree: Tree) -> bool:
        """Whether the next pass is this one moved on."""
        if self.left < 1 or tree.version != self.version or len(works) != len(self.works):
            return False
        if any(one is not other for one, other in zip(works, self.works, strict=True)):
            return False
        return all(len(node.tokens) - node.computed == 1 for node in self.nodes)

    @property
    def speculators(self) -> Counter[Speculator]:
        """Who drafts for them, and for how many."""
        if self._speculators is None:
            self._speculators = Counter([s.speculator for s in self.rows if s.speculator])
        return self._speculators

    def steps(self) -> int:
        """How many steps may follow one another without a look between: none ends before the last of them."""
        if self.ends is None or not self.pace:
            return 1
        written = min(min(s.allowed, s.cap) - s.count for s in self.rows)
        steps = min(MOST_STEPS, int(LONGEST / self.pace), self.left, written)
        for speculator in self.speculators if not self.lull.left else ():
            if not speculator.naps():
                return 1
        return max(1, steps)

    def step(self) -> Batch:
        """The next batch."""
        self.batch = self.batch.after([node.tokens[-1] for node in self.nodes], self.moved)
        self.left -= 1
        self.moved = 1
        return self.batch

    def ran(self, steps: int, seconds: float) -> None:
        """A job has had so many steps."""
        if self.lull.left:
            self.lull.skip(steps - 1)
        elif steps > 1:
            for speculator, branches in self.speculators.items():
                speculator.slept((steps - 1) * branches)
        self.left -= steps - 1
        self.moved = steps
        self.pace = seconds / steps
