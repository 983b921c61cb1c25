"""What a piece of work still lacks goes into the pass: its rows, each distinct row once, and slots for them.

When cache is short what nobody refers to is evicted, extents are moved together, and at last later work
waits.
"""

from __future__ import annotations

from outthink.core.batch import Move
from outthink.core.errors import CacheFull
from outthink.core.tree import Cursor, Node, NoRoom, Tree
from outthink.engine.flight import Plan, Reading, Work
from outthink.engine.scheduler import chunk
from outthink.engine.stretch import Stretch

CUT = 32  # slots of a tail that is cut rather than moved when it cannot grow where it is
LOOKAHEAD = 64  # slots that a growing tail takes at a time, when its length is not known to be shorter
LEAST = 8  # slots that it takes at least
FEW = 8  # the same for a tail that is read at its tip, one of many: chosen tokens may make it longer


class Admission:
    """Fills plans of passes over one tree."""

    def __init__(self, tree: Tree, max_batch: int, kept_rows: int, is_cutting: bool) -> None:
        self.tree = tree
        self.max_batch = max_batch  # pieces of work in a pass
        self.kept_rows = kept_rows  # of logits, by the backend
        self.is_cutting = is_cutting  # whether a tail is cut rather than moved when it cannot grow
        self.rows = 1  # the number of the next row of logits that is kept
        self.beat = 0  # steps: how often a branch that always was in the pass has written
        self.is_tight = False  # whether some work has to wait until there is cache
        self.culprit: Work | None = None  # the work that was looked at last: the one that does not fit

    def add_all(self, plan: Plan, works: list[Work], taken: int) -> int:
        for work in works:
            if taken >= self.max_batch or plan.room <= 0:
                break
            self.culprit = work
            taken += self._admit(plan, work)
        return taken

    def _admit(self, plan: Plan, work: Work) -> bool:
        """Add the rows that a piece of work still lacks; whether any are in the pass. Raises CacheFull."""
        for make_room in (None, self._compact, self._clear_for):
            if make_room is not None:
                make_room(plan, work)
            try:
                self._add(plan, work)
                return True
            except NoRoom:
                self.is_tight = True
                if plan.ranges:
                    return work in plan.rows  # it waits until others have ended
        raise CacheFull(
            f"a branch of {work.branch.cursor.length} tokens alone does not fit the cache of "
            f"{self.tree.slots.capacity} tokens; give it more cache, or shorten the prompt or max_tokens"
        )

    def _add(self, plan: Plan, work: Work) -> None:
        if isinstance(work, Stretch):
            cursor = work.branch.cursor
            node, offset = cursor.node, cursor.offset
            if offset and self.is_kept(node.rows[offset - 1]):
                plan.again.append((work, -1, node.rows[offset - 1]))
                return
            if node.computed == offset - 1 and 1 < offset <= node.cap and node not in plan.ranges:
                plan.ranges[node] = [(offset - 1, offset)]  # a decode step: most of all calls
                plan.rows[work] = 1
                plan.room -= 1
            elif not self._cover(plan, work, cursor, cursor.length):
                return
            row = _row(cursor, cursor.length)
            plan.wanted.add(row)
            plan.draws.append((work, -1, *row))
            return
        for i, ask in work.left.items():
            node, offset = _row(ask.cursor, ask.length)
            if not plan.is_hidden and offset and self.is_kept(node.rows[offset - 1]):
                plan.heard.append((work, i, node.rows[offset - 1]))
                continue
            if not self._cover(plan, work, ask.cursor, ask.length):
                return
            row = _row(ask.cursor, ask.length)
            plan.wanted.add(row)
            plan.reads.append((work, i, *row))

    def is_kept(self, number: int) -> bool:
        """Whether the backend still has the row of logits of this number."""
        return number > self.gone

    @property
    def gone(self) -> int:
        """The last number of a row of logits that is not kept any more; 0 is that of rows that never were."""
        return max(0, self.rows - 1 - self.kept_rows)

    def add_draft(self, plan: Plan, stretch: Stretch) -> None:
        """Add the rows of a draft that the pass has room for."""
        growth = stretch.growth
        assert growth is not None
        length = stretch.position
        for i, cursor in enumerate(growth.cursors):
            upto = length + growth.depths[i]
            node, offset = _row(cursor, upto)
            kept = node.rows[offset - 1]
            if self.is_kept(kept):
                plan.again.append((stretch, i, kept))
                continue
            try:
                if not self._cover(plan, stretch, cursor, upto):
                    return
            except NoRoom:
                return
            row = _row(cursor, upto)  # a tail may have been cut on the way
            plan.wanted.add(row)
            plan.draws.append((stretch, i, *row))

    def _cover(self, plan: Plan, work: Work, cursor: Cursor, length: int) -> bool:
        """Plan what is missing for the row of the first `length` tokens; whether the pass will have all of
        it."""
        for node, low, high in self.tree.missing(cursor, length):
            ranges = plan.ranges.get(node)
            if ranges is not None:
                low = _beyond(ranges, low, high)
            rows = chunk(high - low, plan.room)
            if rows > 0:
                self._plan_rows(plan, work, node, low, low + rows)
            if rows < high - low:
                return False
        return True

    def _plan_rows(self, plan: Plan, work: Work, node: Node, low: int, high: int) -> None:
        if high > node.cap and self.is_cutting and low >= node.cap >= CUT:
            hint = self._hint(work, node, high)
            if not self.tree.grow(node, high, hint):
                before = node.cap
                node, low, high = self.tree.cut(node), low - before, high - before
        if high > node.cap:
            for move in self.tree.reserve(node, high, self._hint(work, node, high)):
                _add_move(plan.moves[-1], move)
        ranges = plan.ranges.setdefault(node, [])
        if ranges and ranges[-1][1] == low:  # a draft grows by a token at a time: one range, not one for each
            ranges[-1] = (ranges[-1][0], high)
        else:
            ranges.append((low, high))
        plan.rows[work] = plan.rows.get(work, 0) + high - low
        plan.room -= high - low

    def _hint(self, work: Work, node: Node, high: int) -> int:
        """How long a node may soon be: tails that grow take some slots at a time, side by side, and so many
        that all of them need more in the same pass, as that pass goes the long way."""
        if isinstance(work, Reading) and work.work.owners is not None and not node.children:
            return len(node.tokens) + -self.beat % FEW
        if not isinstance(work, Stretch) or node is not work.branch.cursor.node or node.children:
            return max(high, len(node.tokens))
        more = LEAST + -(self.beat + LEAST) % LOOKAHEAD
        more = min(more, work.cap - work.count)
        return len(node.tokens) + max(more, 0)

    # ---- when cache is short

    def _compact(self, plan: Plan, work: Work) -> None:
        """Close the gaps between extents."""
        plan.moves += [self.tree.compact(), []]

    def _clear_for(self, plan: Plan, work: Work) -> None:
        """Drop the cache of all but one piece of work; the others compute theirs again in their turn."""
        cursors = (
            [next(iter(work.left.values())).cursor] if isinstance(work, Reading) else [work.branch.cursor]
        )
        path = {node for cursor in cursors for node in _ancestors(cursor.node)}
        for node in path:
            for child in node.children.values():
                if child not in path:
                    self.tree.park(child)
        self._compact(plan, work)


def _row(cursor: Cursor, length: int) -> tuple[Node, int]:
    """Where the row of the first `length` tokens of a path is: (node, tokens of it)."""
    node = cursor.node
    while node.first >= length:
        assert node.parent is not None
        node = node.parent
    return node, length - node.first


def _beyond(ranges: list[tuple[int, int]], low: int, high: int) -> int:
    """What of [low, high) is not planned yet, given that plans grow from the front: the new low."""
    for a, b in sorted(ranges):
        if a <= low < b:
            low = b
    return min(low, high)


def _add_move(moves: list[Move], move: Move) -> None:
    """Moves are read all, then written all: one that goes on from another becomes one with it."""
    for i, earlier in enumerate(moves):
        if earlier.dst == move.src and earlier.length:
            moves[i] = Move(earlier.src, move.dst, earlier.length)
            return
    moves.append(move)


def _ancestors(node: Node | None) -> list[Node]:
    found: list[Node] = []
    while node is not None:
        found.append(node)
        node = node.parent
    return found
