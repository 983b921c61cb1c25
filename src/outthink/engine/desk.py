"""Where tasks hand in work and get results: the engine as the trampoline sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from outthink.core.branch import Branch
from outthink.core.errors import BadInput, BudgetExceeded, Cancelled
from outthink.core.ledger import Request as Reservation
from outthink.core.receipt import Receipt
from outthink.core.tasks import Evaluate, Offload, Task
from outthink.core.types import Answer
from outthink.core.work import PickWork, ReadWork, WriteWork
from outthink.engine.accounts import reading_demand, settle_reading, settle_stretch, writing_demand
from outthink.engine.flight import Reading, Work
from outthink.engine.picking import Picking
from outthink.engine.place import Place, is_near
from outthink.engine.remote import RemotePlace
from outthink.engine.request import Run
from outthink.engine.stretch import Stretch
from outthink.engine.studio import DraftScope
from outthink.engine.walk import wrote_at_once

if TYPE_CHECKING:
    from outthink.engine.engine import Engine
    from outthink.engine.speculator import Speculator


class Desk:
    """Begins, settles and ends the work of tasks."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # what each waiting task waits for, offloads apart
        self.held: dict[Task, Work | Picking | Reservation] = {}
        self.finished: list[Work | Picking] = []  # not delivered yet: of contestants, and what took no pass

    # ---- the trampoline's host

    def begin(self, task: Task, trap: Evaluate | Offload) -> None:
        """A task waits for this now."""
        if isinstance(trap, Offload):
            self.engine.offloads.begin(task, trap)
        elif isinstance(trap.work, WriteWork):
            self._begin_writing(task, trap.work)
        elif isinstance(trap.work, ReadWork):
            self._begin_reading(task, trap.work)
        elif isinstance(trap.work, PickWork):
            self._begin_picking(task, trap.work)
        else:
            error = BadInput(f"the engine cannot evaluate {type(trap.work).__name__}")
            self.engine.trampoline.wake(task, error=error)

    def abandon(self, task: Task, limit: int | None) -> None:
        """A waiting task is being ended: stop its work, and settle what it has cost."""
        held = self.held.pop(task, None)
        if held is None:
            self.engine.offloads.abandon(task)
            return
        work = self.engine.limits.line.pop(held) if isinstance(held, Reservation) else held
        if isinstance(work, Picking):
            for branch, _ in work.work.picks if isinstance(task.pending, BudgetExceeded) else ():
                work.run.note_partial(branch)
            work.settle(limit, discarded=True)
            return
        _home(work.branch).drop(work)
        if isinstance(work, Stretch):
            self._stop_drafting(work)
            if isinstance(task.pending, BudgetExceeded):
                work.run.note_partial(work.branch)
            settle_stretch(work, limit, discarded=True)
        elif work.reservation is not None:
            work.reservation.give_back()

    def _stop_drafting(self, stretch: Stretch) -> None:
        """A stretch has ended: whoever drafts for it stops."""
        if stretch.thinking is not None:
            self.engine.trampoline.interrupt(stretch.thinking, Cancelled("its stretch has ended"))
            stretch.thinking = None
        if stretch.speculator is not None:
            stretch.speculator.end(stretch)

    def ended(self, task: Task) -> None:
        """A task has ended: branches that it returns go to its parent, the others close."""
        why = "done" if task.error is None else "killed"
        returned = _branches_in(task.result) if task.branches else set()
        for branch in list(task.branches):
            if branch in returned and task.parent is not None:
                branch.owner = task.parent
                task.parent.branches[branch] = None
            elif not branch.is_closed:
                self.close(branch, why)
        task.branches.clear()
        if task.parent is None:
            self._finish(task.run, task)

    def slow(self, task: Task, seconds: float) -> None:
        """A task held the loop too long."""
        frame = getattr(task.coroutine, "cr_frame", None)
        where = f" near {frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
        held = f"a strategy held the loop for {seconds * 1000:.0f} ms{where}"
        self.engine.trace.warned(f"{held}; use offload for long work")

    # ---- work

    def _begin_writing(self, task: Task, work: WriteWork) -> None:
        branch = work.branch
        room = branch.place.context - branch.cursor.length
        cap = min(work.sampling.max_tokens or room, room)
        speculator = self._speculator(task, branch)
        stretch = Stretch(branch, task, task.run, work.sampling, cap, speculator)
        if speculator is not None and not speculator.is_asleep and isinstance(branch.place, Place):
            branch.place.lull.end()
        if task.scope.capped():
            self._ask_to_write(stretch)
        else:
            self._queue(stretch)

    def _speculator(self, task: Task, branch: Branch) -> Speculator | None:
        """Who drafts for a branch: drafters know the engine's own model, and a drafting model may have its
        own."""
        if isinstance(task.scope, DraftScope):
            return task.scope.speculator
        return task.run.speculator if branch.place is self.engine.main else None

    def think(self) -> bool:
        """Start the drafting models for every stretch that is ready for them; whether any was."""
        speculators = [run.speculator for run in self.engine.runs.values() if run.speculator]
        if not any(speculator.computes and speculator.thinks for speculator in speculators):
            return False
        ready = [
            work
            for work in self.engine.main.works
            if isinstance(work, Stretch) and work.speculator and work.speculator.thinks
            if not work.is_thought and work.depth >= 1 and is_near(work)
        ]
        for stretch in ready:
            self._think(stretch)
        return bool(ready)

    def _think(self, stretch: Stretch) -> None:
        """A task drafts for the stretch, which does not wait for a pass meanwhile."""
        parent, home = stretch.task, _home(stretch.branch)
        assert isinstance(home, Place)  # an endpoint drafts on its own side, if it does
        del home.works[stretch]
        scope = DraftScope(parent.scope, stretch.speculator.inner if stretch.speculator else None)
        task = self.engine.trampoline.start(self._thought(stretch, home, scope), parent.run, scope, parent)
        task.path, task.contestant = (*parent.path, 0, 0), None
        stretch.thinking = task

    async def _thought(self, stretch: Stretch, home: Place, scope: DraftScope) -> None:
        assert stretch.speculator is not None
        await stretch.speculator.think(stretch)
        tally = stretch.speculator.tally(stretch.proposal)
        tally.seconds += scope.actual.seconds
        tally.bytes += scope.actual.bytes
        stretch.thinking, stretch.is_thought = None, True
        home.works[stretch] = None
        home.lull.end()

    def _ask_to_write(self, stretch: Stretch) -> None:
        run, branch, task = stretch.run, stretch.branch, stretch.task
        left = stretch.cap - stretch.count
        self.held[task] = self.engine.limits.ask(
            task, stretch, left, lambda n: writing_demand(run, branch, n)
        )

    def _begin_reading(self, task: Task, work: ReadWork) -> None:
        reading = Reading(work, task, task.run, dict(enumerate(work.asks)))
        if not work.asks:
            self.engine.trampoline.wake(task, [])
        elif task.scope.capped():
            limits = self.engine.limits
            count = len(work.asks) if work.owners is not None else 1
            self.held[task] = limits.ask(task, reading, count, lambda n: reading_demand(reading, n))
        else:
            self._queue(reading)

    def _begin_picking(self, task: Task, work: PickWork) -> None:
        picking = Picking(work, task, task.run)
        if task.scope.capped():
            self.held[task] = self.engine.limits.ask(task, picking, picking.allowed, picking.demand)
        else:
            self._queue(picking)

    def _queue(self, work: Work | Picking) -> None:
        self.held[work.task] = work
        if isinstance(work, Picking):
            work.write(self.engine.trace)
            self.finished.append(work)
        elif isinstance(work, Stretch) and wrote_at_once(work, self.engine.trace):
            self.finished.append(work)
        else:
            _home(work.branch).works[work] = None

    def grant(self) -> None:
        """Queue the work whose reservations fit now."""
        for reservation, work in self.engine.limits.granted():
            work.reservation = reservation
            if isinstance(work, Stretch):
                work.allowed = work.count + reservation.granted
            elif isinstance(work, Picking):
                work.allowed = reservation.granted
            else:
                work.allow(reservation.granted)
            self._queue(work)

    def deliver(self, work: Work | Picking) -> None:
        """A piece of work has ended."""
        try:
            self.done(work)
        except Exception as error:  # of a tokenizer, say: one request's, not the engine's
            self.fail(work, error)

    def release(self) -> bool:
        """Deliver chosen tokens, and the finished work of contestants whose time has come; whether there was
        any.

        Time in a race is tokens written. A draft may carry one contestant ahead; what it ends is delivered
        when all that still write have written as much, so that who wins and what it costs is the same with
        and without drafts.
        """
        self.finished = [w for w in self.finished if self.held.get(w.task) is w]
        if not self.finished:
            return False
        writing = [w for w in self.held.values() if isinstance(w, (Stretch, Picking))]
        busy = [w for w in writing if w.task.contestant is not None]
        ready = self.finished
        if busy:
            ready = [w for w in ready if not any(_is_behind(other.task, w.task) for other in busy)]
        leaving = dict.fromkeys(ready)
        self.finished = [work for work in self.finished if work not in leaving]
        for work in ready:
            self.deliver(work)
        return bool(ready)

    def done(self, work: Work | Picking) -> None:
        """A piece of work has ended: charge it, and wake its task."""
        wake = self.engine.trampoline.wake
        self.held.pop(work.task, None)
        if isinstance(work, Reading):
            settle_reading(work)
            wake(work.task, [work.dists[i] for i in range(len(work.dists))])
            return
        if isinstance(work, Picking):
            work.settle(None)
            wake(work.task, work.ends)
            return
        settle_stretch(work, None)
        if work.reason:
            self._stop_drafting(work)
            wake(work.task, work.finish())
        else:  # it wants more than was left for it
            self._ask_to_write(work)

    def fail(self, work: Work | Picking, error: BaseException) -> None:
        """An error belongs to the task that waited for the work."""
        if not isinstance(work, Picking):
            _home(work.branch).drop(work)
        if isinstance(work, Stretch):
            self._stop_drafting(work)
        self.held.pop(work.task, None)
        self.engine.trampoline.wake(work.task, error=error)

    def close(self, branch: Branch, why: str) -> None:
        """Close a branch that its task has not."""
        branch._busy = False
        branch._close(why)

    # ---- the end of a run

    def _finish(self, run: Run, task: Task) -> None:
        """A request's own task has ended: its answer, or its error."""
        error = task.error
        if isinstance(error, BudgetExceeded):
            answer, finish = run.fallback(), f"budget: {error.what}"
        elif error is not None:
            run.error = error
            self.engine.forget(run)
            return
        else:
            answer, finish = task.result, "done"
        if isinstance(answer, Answer):
            run.answer = _bare(answer, run.receipt(finish))
            self.engine.trace.ended(run, run.answer)
        else:
            run.error = BadInput(f"the strategy returned {type(answer).__name__}, not an Answer")
        self.engine.forget(run)


def _branches_in(result: Any) -> set[Branch]:
    """The branches that a task's result hands on: itself, in a list or tuple, or in answers."""
    if isinstance(result, Branch):
        return {result}
    if isinstance(result, Answer):
        own = {result.branch} if result.branch is not None else set()
        return own.union(*(_branches_in(other) for other in result.others))
    if isinstance(result, (list, tuple)):
        return set().union(*(_branches_in(item) for item in result)) if result else set()
    return set()


def _bare(answer: Answer, receipt: Receipt | None) -> Answer:
    """An answer as it leaves the engine: with its receipt, without branches."""
    return replace(answer, branch=None, receipt=receipt, others=tuple(_bare(o, None) for o in answer.others))


def _is_behind(one: Task, other: Task) -> bool:
    """Whether `one` has written less than `other` in the race that both are in, as different contestants."""
    mine = {id(c.contest): c for c in _contestants(one)}
    for theirs in _contestants(other):
        own = mine.get(id(theirs.contest))
        if own is not None and own is not theirs:
            return own.written < theirs.written
    return False


def _contestants(task: Task) -> Iterator[Task]:
    """The contestants that a task writes for, innermost race first."""
    at = task.contestant
    while at is not None:
        yield at
        at = at.parent.contestant if at.parent else None


def _home(branch: Branch) -> Place | RemotePlace:
    """The place of a branch, as the engine knows it."""
    assert isinstance(branch.place, (Place, RemotePlace))
    return branch.place
