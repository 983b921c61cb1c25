"""One packed pass over a model: rows to compute, and the forest of cache segments that they may see.

A *segment* is a contiguous run of cache slots. Segments form a forest, parents before children. A row sits
in one segment and sees every slot of all proper ancestors of that segment, in order, and the first `visible`
slots of its own segment (its own slot is the last of these). That is all the structure attention needs: a
decode step is a row at the end of its segment, a prefill chunk is many rows in one segment, a draft tree is
a forest of short segments, and an edited view (eviction, window) is a private chain of segments. Positions
are given, never derived from slots.

Rows are in depth-first order of their segments, so that the rows below any segment are one range.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Segment(NamedTuple):
    """Slots `[start, start + length)`; `parent` is the index of the segment before it in the view, or -1."""

    parent: int
    start: int
    length: int


class Move(NamedTuple):
    """Copy cache rows `[src, src + length)` to `[dst, dst + length)` before the pass; ranges never
    overlap."""

    src: int
    dst: int
    length: int


@dataclass(slots=True)
class Batch:
    """Parallel lists, one entry per row; `wanted` lists the rows whose logits are read, ascending."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    segment: list[int] = field(default_factory=list)
    visible: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)

    def after(self, tokens: list[int], steps: int = 1) -> Batch:
        """What comes so many steps later, if every row is the last one of a leaf of its own: `tokens`, in the
        slots behind."""
        segments = list(self.segments)
        for at in self.segment:
            parent, start, length = segments[at]
            segments[at] = Segment(parent, start, length + steps)
        return Batch(
            tokens,
            [position + steps for position in self.positions],
            [slot + steps for slot in self.slots],
            self.segment,
            [seen + steps for seen in self.visible],
            self.wanted,
            segments,
        )

    def only(self, rows: list[int]) -> Batch:
        """These rows alone, all of them wanted; the segments stay."""
        tokens, positions, slots, segment, visible = (
            [part[row] for row in rows]
            for part in (self.tokens, self.positions, self.slots, self.segment, self.visible)
        )
        return Batch(tokens, positions, slots, segment, visible, list(range(len(rows))), self.segments)

    def context(self, row: int) -> int:
        """How many cache slots this row sees, its own among them."""
        total, at = self.visible[row], self.segments[self.segment[row]].parent
        while at >= 0:
            total += self.segments[at].length
            at = self.segments[at].parent
        return total
