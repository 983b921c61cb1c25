"""One model inside an engine: its token tree, what waits for it, and how a pass is made of that.

A pass takes rows for the work that waits (decode steps and chunks of prompts mixed), each distinct row once,
within a token budget; when cache is short it evicts what nobody refers to, compacts, and at last lets later
work wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING

from outthink.core.batch import Batch
from outthink.core.errors import CacheFull
from outthink.core.jobs import Draw, Drawn, Inbox, PassJob, PassResult, Read
from outthink.core.protocols import Backend
from outthink.core.tree import Tree
from outthink.core.types import Want
from outthink.engine.admission import Admission
from outthink.engine.curve import Curve
from outthink.engine.drafts import draft
from outthink.engine.ends import Ends
from outthink.engine.flight import Flight, Plan, Reading, Work
from outthink.engine.landing import landed
from outthink.engine.lull import Lull
from outthink.engine.packing import pack
from outthink.engine.scheduler import Waiting, fair, first_come, share, urgent
from outthink.engine.steady import Steady
from outthink.engine.stretch import Stretch

if TYPE_CHECKING:
    from outthink.engine.request import Run

SKIPPED = 7  # passes after one of a known size: a clock that counts a thread's work is not free
UNSEEN = 31  # the same in a lull

Again = Callable[[int, Sequence[int], Draw, list[int], bytes], list[Drawn]]

_numbers = count(1)


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
        self.number = next(_numbers)
        is_cutting = bool(getattr(backend, "moves_are_dear", False))
        self.admission = Admission(self.tree, max_batch, about.kept_rows, is_cutting)
        self.max_batch = max_batch  # pieces of work in a pass
        self.max_rows = max_rows  # rows in a pass
        self.works: dict[Work, None] = {}
        self.served: dict[str, int] = {}  # places in crowded passes, by share
        self.passes = 0
        self._curve: Curve | None = None
        self.clock = clock  # of passes and of asking for drafts: what is compared is timed alike
        self.skipped = 0  # passes that are not timed yet
        self.asking = 0.0  # seconds that the pass under way has spent on drafts: no part of it
        self.lull = Lull()
        self.steady: Steady | None = None  # the pass that may be repeated one token on
        self.ends = Ends(backend.tokenizer, about.vocab)
        self.paces: dict[int, float] = {}  # seconds of the last step of so many decode rows
        self.runs_on = bool(getattr(backend, "runs_on", False))
        self.again: Again | None = getattr(backend, "again", None)  # draws from kept rows between passes
        self.was_hidden = False  # whether the last pass was for hidden states

    def anew(self) -> Place:
        """The same model with nothing in its cache and nobody waiting."""
        place = Place(self.backend, self.tree.slots.capacity, self.max_batch, self.max_rows, self.clock)
        place._curve, place.ends = self._curve, self.ends
        return place

    # ---- making a pass

    def fly(self, inbox: Inbox, may_run_on: bool = False) -> Flight:
        """Put a pass together from what waits, and submit it; with `may_run_on`, several at once where nobody
        needs to look in between. Raises CacheFull: `culprit` can never fit."""
        self.skipped -= 1
        began = None if self._curve is None or self.skipped >= 0 else self.clock()
        flight = self._flown(inbox, may_run_on)
        flight.is_silent = self.lull.is_silent
        if began is not None:
            flight.began, self.asking = began + self.asking, 0.0
        return flight

    def _flown(self, inbox: Inbox, may_run_on: bool) -> Flight:
        steady, drafted, self.lull.is_silent = self.steady, False, False
        self.admission.beat += 1
        if steady is not None and steady.is_valid(self.works, self.tree):
            drafting, drafted = draft(steady.works, self, len(steady.nodes)), True
            if not drafting:
                return self._fly_steady(steady, inbox, steady.steps() if may_run_on else 1)
        plan = Plan(self.max_rows)
        plan.is_hidden = self.was_hidden = self._turns_to_hidden()
        near, far = self._ordered()
        if not drafted:
            drafting = draft(near, self) if not self.admission.is_tight else []
        try:
            plan.room -= self.max_rows // 4 if far else 0  # a share of the pass is kept for prompts
            taken = self.admission.add_all(plan, near, 0)
            plan.room += self.max_rows // 4 if far else 0
            self.admission.add_all(plan, far, taken)
        except CacheFull:
            for stretch in drafting:
                stretch.drop_draft()
            raise
        tips = {stretch for stretch, *_ in plan.draws + plan.again}
        for stretch in drafting:
            if stretch in tips:
                self.admission.add_draft(plan, stretch)
            else:
                stretch.drop_draft()  # its tip is not in the pass
        batch, where = pack(plan.ranges, plan.wanted)
        works = (
            [] if near and far else near or far
        )  # of both, the rows of the next pass come in another order
        is_steady = works and not drafting and not self.admission.is_tight
        self.steady = self._steady(plan, batch, works) if is_steady else None
        new = len(batch.wanted)
        last = new + len(plan.again)
        draws = [stretch.draw(where[(node, upto)], at) for stretch, at, node, upto in plan.draws]
        draws += [stretch.draw(new + i, at) for i, (stretch, at, _) in enumerate(plan.again)]
        tops = [] if self.lull.is_silent else _tops(stretch for stretch, *_ in plan.draws)
        job = PassJob(
            batch,
            draws,
            [Read(where[(node, upto)], reading.left[i].want) for reading, i, node, upto in plan.reads]
            + [Read(last + i, reading.left[at].want) for i, (reading, at, _) in enumerate(plan.heard)]
            + [Read(draws[i].row, Want(top=k)) for i, k in tops if k],
            [moves for moves in plan.moves if moves],
            keep=self.admission.rows if new <= self.admission.kept_rows // 4 and not plan.is_hidden else 0,
            reuse=[number for *_, number in (*plan.again, *plan.heard)],
            is_hidden=plan.is_hidden,
            tree=self.number,
        )
        self.admission.rows += new
        writers = [(stretch, at) for stretch, at, *_ in plan.draws + plan.again]
        flight = Flight(plan, job, self.backend.price(job), writers, where)
        flight.tops = [i for i, k in tops if k]
        self.backend.submit([job], inbox)
        return flight

    def _steady(self, plan: Plan, batch: Batch, near: list[Work]) -> Steady | None:
        steady = Steady.after(plan, batch, near, self.tree, self.ends, self.lull)
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
        tops = [] if self.lull.is_silent else _tops(steady.rows)
        job = PassJob(
            batch,
            draws,
            [Read(steady.places[i], Want(top=k)) for i, k in tops if k],
            keep=self.admission.rows if len(batch) * steps <= self.admission.kept_rows // 4 else 0,
            tree=self.number,
        )
        self.admission.rows += len(batch)
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
        if self.admission.is_tight:
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

    # ---- after a pass

    def land(self, flight: Flight, result: PassResult) -> list[Work]:
        """Take a pass's results; the work that has ended by them."""
        ended = landed(self, flight, result)
        for work in ended:
            self.drop(work)
        batch = flight.job.batch
        if flight.began is not None and len(batch.wanted) == len(batch) > 0:
            curve, about = self.curve(), (len(batch), flight.job.steps)
            known = UNSEEN if self.lull.left else SKIPPED
            self.skipped = known if curve.knows(*about) and not flight.is_drafted else 0
            curve.observe(about[0], self.clock() - flight.began, about[1])
        return ended

    def drop(self, work: Work) -> None:
        """A piece of work no longer waits."""
        self.works.pop(work, None)
        if isinstance(work, Stretch) and work.growth is not None:
            work.drop_draft()

    def curve(self) -> Curve:
        """What passes take by rows: measured at first use."""
        if self._curve is None:
            self._curve = Curve(self.backend.step_times())
        return self._curve

    def dollars(self, read: int, written: int) -> float:
        """One's own machine takes none."""
        return 0.0

    @property
    def cache_bytes(self) -> float:
        return self.tree.filled * self.prices.slot_bytes


def _tops(stretches: Iterable[Stretch]) -> list[tuple[int, int]]:
    """(Which draw, how many of its likeliest tokens its drafter wants to hear)."""
    awake = [
        (i, s.speculator) for i, s in enumerate(stretches) if s.speculator and not s.speculator.is_asleep
    ]
    return [(i, speculator.tops) for i, speculator in awake]


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
