"""The loop: step every coroutine until all wait, form one batch from everything that waits, charge, wake.

while something is alive:
    step coroutines            (core/tasks.py)
    deadlines, lost races, reservations
    one pass on the model whose pass is cheapest, or sleep on the inbox until the next deadline
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from outthink.core.branch import Branch, ReadWork, WriteWork
from outthink.core.errors import (
    BadInput,
    BudgetExceeded,
    Cancelled,
    Deadlock,
    OutthinkError,
    PromptTooLong,
    UnknownName,
)
from outthink.core.ledger import Request as Reservation
from outthink.core.ledger import Scope, grants
from outthink.core.needs import check_needs
from outthink.core.protocols import Backend
from outthink.core.tasks import Evaluate, Offload, Task, Trampoline
from outthink.core.types import Answer, Cost, Receipt
from outthink.engine.accounts import (
    charge_pass,
    reading_demand,
    settle_reading,
    settle_stretch,
    writing_demand,
)
from outthink.engine.offload import Offloads
from outthink.engine.place import Flight, Place, Reading, Work
from outthink.engine.request import Request, Run, root_key
from outthink.engine.stretch import Stretch
from outthink.engine.trace import PassInfo, Trace


@dataclass(frozen=True, slots=True)
class Done:
    """One request of `map` that has ended: an answer, or the error that ended it."""

    request: Request
    answer: Answer | None
    error: BaseException | None


class Engine:
    """Runs requests on one or more local models. All of it happens on the thread that calls it."""

    def __init__(
        self,
        backend: Backend,
        *,
        slots: int = 65536,
        max_batch: int = 256,
        max_rows: int = 512,
        trace: Trace | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if max_batch < 1 or max_rows < 1 or slots < 1:
            raise BadInput(
                f"max_batch={max_batch}, max_rows={max_rows}, slots={slots}: give at least 1 of each"
            )
        self.trace = trace or Trace()
        self.clock = clock
        self.main = Place(backend, slots, max_batch, max(max_rows, max_batch))
        self.places = {self.main.name: self.main}
        self.trampoline = Trampoline(self)
        self.offloads = Offloads()
        self.inbox = self.offloads.inbox
        self.line: list[Reservation] = []
        self.runs: dict[int, Run] = {}
        self.count = 0
        self.flights: dict[int, tuple[Place, Flight]] = {}
        self.waiting_for: dict[Task, Work | Reservation] = {}
        self.resuming: dict[Reservation, Work] = {}

    # ---- what users call
    # -------------------------------------------------------------------------------------

    def run(self, request: Request) -> Answer:
        """Run one request to its end and return the answer. Raises what the strategy raised."""
        [done] = list(self.map([request]))
        if done.error is not None:
            raise done.error
        assert done.answer is not None
        return done.answer

    def map(self, requests: Iterable[Request], concurrency: int = 32) -> Iterator[Done]:
        """Run many at once on the shared tree; results as they end, requests pulled as places fall free."""
        source, exhausted = iter(requests), False
        active: list[Run] = []
        try:
            while active or not exhausted:
                while not exhausted and len(active) < concurrency:
                    request = next(source, None)
                    if request is None:
                        exhausted = True
                        break
                    run = self._start_or_fail(request)
                    active.append(run)
                if active and not any(r.answer or r.error for r in active):
                    self.turn()
                for run in [r for r in active if r.answer is not None or r.error is not None]:
                    active.remove(run)
                    yield Done(run.request, run.answer, run.error)
        finally:
            for run in active:
                self.abort(run)

    def start(self, request: Request) -> Run:
        """Take a request in; `turn` until it has an answer. Raises BadInput for a prompt that cannot be
        used."""
        run = Run(self, request, self.count)
        self.count += 1
        place = self.main
        check_needs(request.strategy, place.can, place.name)
        text = run.problem.prompt
        if not text.strip():
            raise BadInput("the prompt is empty")
        if request.raw:
            tokens = place.tokenizer.encode(text)
        else:
            tokens = place.tokenizer.chat([{"role": "user", "content": text}])
        if len(tokens) >= place.context:
            raise PromptTooLong(
                f"the prompt has {len(tokens)} tokens; {place.name} accepts {place.context}, answer included"
            )
        root = Branch(run, place, place.tree.open(tokens), (), root_key(request.seed, place.name))
        root.sampling = request.sampling
        run.root = root
        run.scope.charge(Cost(read=len(tokens)))
        self.runs[run.number] = run
        self.trace.started(run)
        run.task = self.trampoline.start(_as_coroutine(request.strategy, root), run, run.scope)
        run.task.path = (run.number,)
        return run

    def abort(self, run: Run) -> None:
        """End a request now; its branches and cache go."""
        if run.task is not None and not run.task.is_done:
            self._end_tasks(run.scope, "aborted")
        self._forget(run)

    def close(self) -> None:
        """End everything and stop the worker processes."""
        for run in list(self.runs.values()):
            self.abort(run)
        self.offloads.close()

    def place(self, model: str | None) -> Place:
        """The model of that name; None is the engine's own."""
        if model is None:
            return self.main
        if model not in self.places:
            raise UnknownName("model in this engine", model, self.places)
        return self.places[model]

    def add(self, backend: Backend, slots: int = 65536) -> None:
        """Put another model beside the main one, for judges and routers."""
        place = Place(backend, slots, self.main.max_batch, self.main.max_rows)
        self.places[place.name] = place

    # ---- one turn
    # --------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Everything that can be done without waiting, then one pass or one wait."""
        began = self.clock()
        self._settle()
        for place in sorted(
            (p for p in self.places.values() if p.works), key=lambda p: p.prices.weight_bytes
        ):
            self._pass(place, began)
            return
        if self.offloads.in_flight:
            self.offloads.wait(self._next_deadline())
            self._receive()
            self._settle()
        elif self.trampoline.live and not self.trampoline.ready:
            self._deadlock()

    def _settle(self) -> None:
        """Step coroutines, and all that follows from where they stand, until nothing changes."""
        self._receive()
        self.trampoline.run()
        while self._deadlines() or self._lost_races() or self._grant() or self._spent_out():
            self.trampoline.run()

    def _pass(self, place: Place, began: float) -> None:
        try:
            flight = place.fly(self.inbox)
        except OutthinkError as error:
            self._fail(next(iter(place.works)), error)
            return
        if flight is None:
            return
        self.flights[flight.job.number] = (place, flight)
        place.backend.step()
        self._receive(began)

    def _receive(self, began: float = 0.0) -> None:
        """Hand arrived results to whoever waits for them."""
        for job, result in self.inbox.take():
            entry = self.flights.pop(getattr(job, "number", -1), None)
            if entry is not None:
                self._landed(*entry, result, began)
            else:
                self.offloads.deliver(job, result, self.trampoline)

    def _landed(self, place: Place, flight: Flight, result: Any, began: float) -> None:
        if isinstance(result, BaseException):
            for work in flight.plan.rows:
                self._fail(work, result)
            return
        ended = place.land(flight, result)
        self.trace_writing(flight, result)
        for work in ended:
            self._ended(place, work)
        charge_pass(flight, self.clock() - began, place.cache_bytes)
        if type(self.trace).passed is not Trace.passed:
            rows, drawn = len(flight.job.batch), len(result.drawn)
            seconds = self.clock() - began
            self.trace.passed(PassInfo(place.name, rows, drawn, place.tree.filled, result.seconds, seconds))

    def trace_writing(self, flight: Flight, result: Any) -> None:
        """Tell the listener what was written, if it listens."""
        if type(self.trace).wrote is not Trace.wrote:
            for (stretch, _, _), drawn in zip(flight.plan.draws, result.drawn, strict=True):
                self.trace.wrote(stretch.branch, [drawn.token])

    # ---- the trampoline's host
    # -------------------------------------------------------------------------------

    def begin(self, task: Task, trap: Evaluate | Offload) -> None:
        """A task waits for this now."""
        if isinstance(trap, Offload):
            self.offloads.begin(task, trap)
        elif isinstance(trap.work, WriteWork):
            self._begin_writing(task, trap.work)
        elif isinstance(trap.work, ReadWork):
            self._begin_reading(task, trap.work)
        else:
            self.trampoline.wake(
                task, error=BadInput(f"the engine cannot evaluate {type(trap.work).__name__}")
            )

    def _begin_writing(self, task: Task, work: WriteWork) -> None:
        branch = work.branch
        run: Run = task.run
        room = branch.place.context - branch.cursor.length
        cap = min(work.sampling.max_tokens or room, room)
        stretch = Stretch(branch, task, run, work.sampling, cap)
        if not task.scope.capped():
            _home(branch).works[stretch] = None
            self.waiting_for[task] = stretch
        else:
            self._reserve(task, stretch, cap, lambda n: writing_demand(run, branch, n))

    def _begin_reading(self, task: Task, work: ReadWork) -> None:
        run: Run = task.run
        reading = Reading(work, task, run, dict(enumerate(work.asks)))
        if not work.asks:
            self.trampoline.wake(task, [])
        elif not task.scope.capped():
            _home(work.branch).works[reading] = None
            self.waiting_for[task] = reading
        else:
            self._reserve(task, reading, 1, lambda n: reading_demand(run, reading))

    def _reserve(
        self, task: Task, work: Work, tokens: int, demand: Callable[[int], dict[str, float]]
    ) -> None:
        asked = task.asked.get(task.scope, 0)
        task.asked[task.scope] = asked + 1
        reservation = Reservation(task.scope, (asked, task.path), tokens, demand, task)
        self.line.append(reservation)
        self.resuming[reservation] = work
        self.waiting_for[task] = reservation

    def abandon(self, task: Task, limit: int | None) -> None:
        """A waiting task is being ended: stop its work, and settle what it has cost."""
        held = self.waiting_for.pop(task, None)
        if held is None:
            self.offloads.abandon(task)
            return
        work = self.resuming.pop(held, None) if isinstance(held, Reservation) else held
        if isinstance(held, Reservation):
            self.line.remove(held)
        if work is None:
            return
        _home(work.branch).drop(work)
        if isinstance(work, Stretch):
            if isinstance(task.pending, BudgetExceeded):
                work.run.note_partial(work.branch)
            settle_stretch(work, limit, discarded=True)
        elif work.reservation is not None:
            work.reservation.give_back()

    def ended(self, task: Task) -> None:
        """A task has ended: branches that it returns go to its parent, the others close."""
        killed = task.error is not None
        returned = _branches_in(task.result)
        for branch in list(task.branches):
            if branch in returned and task.parent is not None:
                branch.owner = task.parent
                task.parent.branches[branch] = None
            elif not branch.is_closed:
                self._close(branch, "killed" if killed else "done")
        task.branches.clear()
        if task.parent is None:
            self._finish(task.run, task)

    def slow(self, task: Task, seconds: float) -> None:
        """A task held the loop too long."""
        frame = getattr(task.coroutine, "cr_frame", None)
        where = f" near {frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
        self.trace.warned(
            f"a strategy held the loop for {seconds * 1000:.0f} ms{where}; use offload for long work"
        )

    # ---- endings
    # ---------------------------------------------------------------------------------------------

    def _ended(self, place: Place, work: Work) -> None:
        task = work.task
        if isinstance(work, Reading):
            self.waiting_for.pop(task, None)
            settle_reading(work)
            self.trampoline.wake(task, [work.dists[i] for i in range(len(work.work.asks))])
        elif work.reason:
            self.waiting_for.pop(task, None)
            settle_stretch(work, None)
            self.trampoline.wake(task, work.finish())
        else:  # it wants more than was left for it
            settle_stretch(work, None)
            run, branch = work.run, work.branch
            self._reserve(task, work, work.cap - work.count, lambda n: writing_demand(run, branch, n))

    def _fail(self, work: Work, error: BaseException) -> None:
        """An error belongs to the task that waited for the work."""
        _home(work.branch).drop(work)
        self.waiting_for.pop(work.task, None)
        self.trampoline.wake(work.task, error=error)

    def _close(self, branch: Branch, why: str) -> None:
        self.trace.closed(branch, why)
        branch._busy = False
        branch.run.tips.pop(branch, None)  # type: ignore[attr-defined]
        branch.close()

    def _finish(self, run: Run, task: Task) -> None:
        """A request's own task has ended: its answer, or its error."""
        error = task.error
        if isinstance(error, BudgetExceeded):
            answer, finish = run.fallback(), f"budget: {error.what}"
        elif error is not None:
            run.error = error
            self._forget(run)
            return
        else:
            answer, finish = task.result, "done"
        if not isinstance(answer, Answer):
            run.error = BadInput(f"the strategy returned {type(answer).__name__}, not an Answer")
        else:
            run.answer = _bare(answer, run.receipt(finish))
            self.trace.ended(run, run.answer)
        self._forget(run)

    def _forget(self, run: Run) -> None:
        if run.root is not None and not run.root.is_closed:
            self._close(run.root, "done")
        self.runs.pop(run.number, None)
        self.main.served.pop(run.number, None)
        run.distinct.clear()
        run.tips.clear()

    def _start_or_fail(self, request: Request) -> Run:
        try:
            return self.start(request)
        except OutthinkError as error:
            run = Run(self, request, self.count)
            run.error = error
            return run

    # ---- between passes
    # --------------------------------------------------------------------------------------

    def _grant(self) -> bool:
        if not self.line:
            return False
        granted, starved = grants(self.line, self._may_still_ask)
        for reservation in granted:
            self.line.remove(reservation)
            work = self.resuming.pop(reservation)
            work.reservation = reservation
            if isinstance(work, Stretch):
                work.allowed = work.count + reservation.granted
            _home(work.branch).works[work] = None
            self.waiting_for[work.task] = work
        for reservation in starved[:1]:
            scope = reservation.blocker()
            self._exhaust(scope, next(r for r in scope.caps if r in ("written", "positions", "flops")))
        return bool(starved)

    def _may_still_ask(self, reservation: Reservation) -> bool:
        """Whether a task that comes earlier in the order could yet ask under the same caps."""
        capped = [s for s in reservation.scope.chain() if s.caps]
        waiting = {r.task for r in self.line}
        for task in self.trampoline.live:
            if task is reservation.task or task in waiting or task in self.trampoline.contests:
                continue
            asked = task.asked.get(task.scope, 0)
            if any(task.scope.inside(s) for s in capped) and (asked, task.path) < reservation.order:
                return True
        return False

    def _lost_races(self) -> bool:
        losers = self.trampoline.race_losers() if self.trampoline.contests else []
        for task, limit in losers:
            self.trampoline.interrupt(task, Cancelled("it has lost its race"), limit)
        return bool(losers)

    def _deadlines(self) -> bool:
        now = self.clock()
        for run in list(self.runs.values()):
            for scope in _open_scopes(run.scope):
                if scope.deadline is not None and now >= scope.deadline and not scope.exhausted:
                    return self._exhaust(scope, "seconds")
        return False

    def _next_deadline(self) -> float | None:
        ends = [
            s.deadline for r in self.runs.values() for s in _open_scopes(r.scope) if s.deadline is not None
        ]
        return max(0.0, min(ends) - self.clock()) if ends else None

    def _spent_out(self) -> bool:
        for place in self.places.values():
            for work in place.works:
                found = work.task.scope.spent_out()
                if found is not None:
                    return self._exhaust(*found)
        return False

    def _exhaust(self, scope: Scope, resource: str) -> bool:
        """A cap is reached: every task inside is ended at its trap."""
        scope.exhausted = resource
        cap = scope.caps.get(resource, 0)
        return self._end_tasks(scope, f"{resource}={cap:g} in {scope.name}")

    def _end_tasks(self, scope: Scope, what: str) -> bool:
        inside = [
            t for t in self.trampoline.live if t.scope.inside(scope) and t not in self.trampoline.contests
        ]
        for task in inside:
            self.trampoline.interrupt(task, BudgetExceeded(scope, what))
        self.trampoline.run()
        return bool(inside)

    def _deadlock(self) -> None:
        stuck = ", ".join(f"{t.path}: {type(t.waiting).__name__}" for t in self.trampoline.live)
        for task in list(self.trampoline.live):
            if task not in self.trampoline.contests:
                self.trampoline.wake(
                    task, error=Deadlock(f"nothing can run, nothing is in flight; waiting: {stuck}")
                )


async def _as_coroutine(strategy: Any, root: Branch) -> Answer:
    """Call a strategy inside its task, so that whatever goes wrong is the task's error."""
    answer: Answer = await strategy(root)
    return answer


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


def _open_scopes(scope: Scope) -> Iterator[Scope]:
    if scope.is_open:
        yield scope
        for child in scope.children:
            yield from _open_scopes(child)


def _home(branch: Branch) -> Place:
    """The place of a branch, as the engine knows it."""
    assert isinstance(branch.place, Place)
    return branch.place
