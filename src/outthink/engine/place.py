"""One model inside an engine: its token tree, what waits for it, and how a pass is made of that.

A pass takes rows for the work that waits (decode steps and chunks of prompts mixed), each distinct row once,
within a token budget; when cache is short it evicts what nobody refers to, compacts, and at last lets later
work wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outthink.core.batch import Batch, Move
from outthink.core.errors import CacheFull
from outthink.core.jobs import Inbox, PassJob, PassResult, Read
from outthink.core.protocols import Backend
from outthink.core.tree import Cursor, Node, NoRoom, Tree
from outthink.core.types import Want
from outthink.engine.curve import Curve
from outthink.engine.drafts import draft
from outthink.engine.ends import Ends
from outthink.engine.flight import Flight, Plan, Reading, Work
from outthink.engine.landing import landed
from outthink.engine.packing import pack
from outthink.engine.scheduler import Waiting, chunk, fair, first_come, share, urgent
from outthink.engine.steady import Steady
from outthink.engine.stretch import Stretch

if TYPE_CHECKING:
    from outthink.engine.request import Run

CUT = 32  # slots of a tail that is cut rather than moved when it cannot grow where it is
SKIPPED = 7  # passes after a timed one: a clock that counts a thread's work is not free
LOOKAHEAD = 64  # slots that a growing tail takes at a time, when its length is not known to be shorter
LEAST = 8  # slots that it takes at least


class Place:
    """A local model with its tree and its queue."""

    def __init__(
        self,
        backend: Backend,
        slots: int,
        max_batch: int,
        max_rows: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        about = backend.about
        self.backend = backend
        self.name, self.label = about.name, about.label
        self.vocab = about.vocab
        self.eos = about.eos
        self.context = about.context
        self.prices = about.prices
        self.layers = about.layers
        self.directory = about.directory
        self.tokenizer = backend.tokenizer
        self.can = backend.can
        self.tree = Tree(slots)
        self.max_batch = max_batch  # pieces of work in a pass
        self.max_rows = max_rows  # rows in a pass
        self.works: dict[Work, None] = {}
        self.served: dict[str, int] = {}  # places in crowded passes, by share
        self.passes = 0
        self.beat = 0  # steps: how often a branch that always was in the pass has written
        self.rows = 1  # the number of the next row of logits that is kept
        self.kept_rows = about.kept_rows
        self._curve: Curve | None = None
        self.clock = clock  # of passes and of asking for drafts: what is compared is timed alike
        self.skipped = 0  # passes that are not timed yet: of single plain steps one in SKIPPED + 1 is
        self.asking = 0.0  # seconds that the pass under way has spent on drafts: no part of it
        self.steady: Steady | None = None  # the pass that may be repeated one token on
        self.ends = Ends(backend.tokenizer, about.vocab)
        self.paces: dict[int, float] = {}  # seconds of the last step of so many decode rows
        self.runs_on = bool(getattr(backend, "runs_on", False))
        self.is_cutting = bool(getattr(backend, "moves_are_dear", False))
        self.is_tight = False
        self.culprit: Any = None  # the work that was looked at last: the one that does not fit
        self.was_hidden = False  # whether the last pass was for hidden states

    # ---- making a pass

    def fly(self, inbox: Inbox, may_run_on: bool = False) -> Flight:
        """Put a pass together from what waits, and submit it; with `may_run_on`, several at once where nobody
        needs to look in between. Raises CacheFull: `culprit` can never fit."""
        self.skipped -= 1
        began = None if self._curve is None or self.skipped >= 0 else self.clock()
        flight = self._flown(inbox, may_run_on)
        if began is not None:
            flight.began, self.asking = began + self.asking, 0.0
        return flight

    def _flown(self, inbox: Inbox, may_run_on: bool) -> Flight:
        steady, drafted = self.steady, False
        self.beat += 1
        if steady is not None and steady.is_valid(self.works, self.tree):
            drafting, drafted = draft(steady.works, self), True
            if not drafting:
                return self._fly_steady(steady, inbox, steady.steps() if may_run_on else 1)
        plan = Plan(self.max_rows)
        plan.is_hidden = self.was_hidden = self._turns_to_hidden()
        near, far = self._ordered()
        if not drafted:
            drafting = draft(near, self) if not self.is_tight else []
        try:
            plan.room -= self.max_rows // 4 if far else 0  # a share of the pass is kept for prompts
            taken = self._admit_all(plan, near, 0)
            plan.room += self.max_rows // 4 if far else 0
            self._admit_all(plan, far, taken)
        except CacheFull:
            for stretch in drafting:
                stretch.drop_draft()
            raise
        tips = {stretch for stretch, *_ in plan.draws + plan.again}
        for stretch in drafting:
            if stretch in tips:
                self._add_draft(plan, stretch)
            else:
                stretch.drop_draft()  # its tip is not in the pass
        batch, where = pack(plan.ranges, plan.wanted)
        works = (
            [] if near and far else near or far
        )  # of both, the rows of the next pass come in another order
        self.steady = None if not works or drafting or self.is_tight else self._steady(plan, batch, works)
        new = len(batch.wanted)
        last = new + len(plan.again)
        draws = [stretch.draw(where[(node, upto)], at) for stretch, at, node, upto in plan.draws]
        draws += [stretch.draw(new + i, at) for i, (stretch, at, _) in enumerate(plan.again)]
        tops = [(i, s.speculator.source.tops) for i, (s, *_) in enumerate(plan.draws) if s.speculator]
        job = PassJob(
            batch,
            draws,
            [Read(where[(node, upto)], reading.left[i].want) for reading, i, node, upto in plan.reads]
            + [Read(last + i, reading.left[at].want) for i, (reading, at, _) in enumerate(plan.heard)]
            + [Read(draws[i].row, Want(top=k)) for i, k in tops if k],
            [moves for moves in plan.moves if moves],
            keep=self.rows if new <= self.kept_rows // 4 and not plan.is_hidden else 0,
            reuse=[number for *_, number in (*plan.again, *plan.heard)],
            is_hidden=plan.is_hidden,
        )
        self.rows += new
        writers = [(stretch, at) for stretch, at, *_ in plan.draws + plan.again]
        flight = Flight(plan, job, self.backend.price(job), writers, where)
        flight.tops = [i for i, k in tops if k]
        self.backend.submit([job], inbox)
        return flight

    def _steady(self, plan: Plan, batch: Batch, near: list[Work]) -> Steady | None:
        steady = Steady.after(plan, batch, near, self.tree, self.ends)
        if steady is not None:
            steady.pace = self.paces.get(len(steady.batch), 0.0)
        return steady

    def _fly_steady(self, steady: Steady, inbox: Inbox, steps: int) -> Flight:
        """The last pass, one token on, and up to so many steps from there."""
        batch, plan, self.was_hidden = steady.step(), Plan(0), False
        draws = [stretch.draw(row) for stretch, row in zip(steady.rows, steady.places, strict=True)]
        for stretch, row in zip(steady.rows, steady.places, strict=True):
            if len(plan.rows) == row:  # who comes first brings it
                plan.rows[stretch] = 1
        tops = [(i, s.speculator.source.tops) for i, s in enumerate(steady.rows) if s.speculator]
        job = PassJob(
            batch,
            draws,
            [Read(steady.places[i], Want(top=k)) for i, k in tops if k],
            keep=self.rows if len(batch) * steps <= self.kept_rows // 4 else 0,
        )
        self.rows += len(batch)
        flight = Flight(plan, job, self.backend.price(job), [(s, -1) for s in steady.rows], {})
        flight.tops, flight.steady = [i for i, k in tops if k], steady
        if steps > 1:  # how many it becomes is seen, and priced, when it lands
            job.steps, job.ends = steps, steady.ends or b""
            job.reads, flight.tops = [], []  # those who draft are asleep
        self.backend.submit([job], inbox)
        return flight

    def _turns_to_hidden(self) -> bool:
        """Whether the next pass is for hidden states: at once where any are wanted, but not twice running
        while other work waits."""
        kinds = {_wants_hidden(work) for work in self.works}
        return True in kinds and not (self.was_hidden and False in kinds)

    def _ordered(self) -> tuple[list[Work], list[Work]]:
        """What waits for this kind of pass, in its order: decode steps, and work that must read a prompt
        first."""
        works = self._urgent([work for work in self.works if _wants_hidden(work) == self.was_hidden])
        if self.is_tight:
            return [works[i] for i in first_come(list(map(_waiting, works)))], []
        if len(works) > self.max_batch:
            works = [works[i] for i in fair(list(map(_waiting, works)), self.served)]
            for work in works[: self.max_batch]:
                who = share(_waiting(work))
                self.served[who] = self.served.get(who, 0) + 1
        near: list[Work] = []
        far: list[Work] = []
        for work in works:
            (near if is_near(work) else far).append(work)
        return near, far

    def _urgent(self, works: list[Work]) -> list[Work]:
        self.passes += 1
        priorities = [work.run.request.priority for work in works]
        if len(set(priorities)) < 2:
            return works
        return [works[i] for i in urgent(priorities, self.passes)]

    def forget(self, run: Run, is_last: bool) -> None:
        """A request has ended; `is_last` if no other of its share is here."""
        self.served.pop(str(run.number), None)
        if is_last:
            self.served.pop(run.request.share, None)

    def _admit_all(self, plan: Plan, works: list[Work], taken: int) -> int:
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
            if offset and self._is_kept(node.rows[offset - 1]):
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
            if not plan.is_hidden and offset and self._is_kept(node.rows[offset - 1]):
                plan.heard.append((work, i, node.rows[offset - 1]))
                continue
            if not self._cover(plan, work, ask.cursor, ask.length):
                return
            row = _row(ask.cursor, ask.length)
            plan.wanted.add(row)
            plan.reads.append((work, i, *row))

    def _is_kept(self, number: int) -> bool:
        """Whether the backend still has the row of logits of this number."""
        return number > max(0, self.rows - 1 - self.kept_rows)

    def _add_draft(self, plan: Plan, stretch: Stretch) -> None:
        """Add the rows of a draft that the pass has room for."""
        growth = stretch.growth
        assert growth is not None
        length = stretch.position
        for i, cursor in enumerate(growth.cursors):
            upto = length + growth.depths[i]
            node, offset = _row(cursor, upto)
            kept = node.rows[offset - 1]
            if self._is_kept(kept):
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
        cursors = [a.cursor for a in work.work.asks] if isinstance(work, Reading) else [work.branch.cursor]
        path = {node for cursor in cursors for node in _ancestors(cursor.node)}
        for node in path:
            for child in node.children.values():
                if child not in path:
                    self.tree.park(child)
        self._compact(plan, work)

    # ---- after a pass

    def land(self, flight: Flight, result: PassResult) -> list[Work]:
        """Take a pass's results; the work that has ended by them."""
        ended = landed(self, flight, result)
        for work in ended:
            self.drop(work)
        batch = flight.job.batch
        if flight.began is not None and len(batch.wanted) == len(batch) > 0:
            self.curve().observe(len(batch), self.clock() - flight.began, flight.job.steps)
            self.skipped = SKIPPED if flight.steady is not None and flight.job.steps == 1 else 0
        return ended

    def drop(self, work: Work) -> None:
        """A piece of work no longer waits."""
        self.works.pop(work, None)
        self.is_tight = False
        if isinstance(work, Stretch) and work.growth is not None:
            work.drop_draft()

    def curve(self) -> Curve:
        """What passes take by rows: measured at first use."""
        if self._curve is None:
            self._curve = Curve(self.backend.step_times())
        return self._curve

    @property
    def cache_bytes(self) -> float:
        return self.tree.filled * self.prices.slot_bytes


def _waiting(work: Work) -> Waiting:
    written = work.count if isinstance(work, Stretch) else 0
    return Waiting(work.run.number, written, work.branch.path, work.run.request.share)


def _wants_hidden(work: Work) -> bool:
    return isinstance(work, Reading) and work.is_hidden


def is_near(work: Work) -> bool:
    """Whether only its last row is missing."""
    cursor = work.branch.cursor
    node = cursor.node
    return isinstance(work, Stretch) and (node.computed >= cursor.offset - 1 > 0 or cursor.offset == 1)


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
