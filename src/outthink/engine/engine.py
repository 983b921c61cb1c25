"""The loop: step every coroutine until all wait, form one batch from everything that waits, charge, wake.

while something is alive:
    step coroutines            (core/tasks.py)
    reservations, deadlines, lost races
    one pass on the model whose pass is cheapest, or sleep on the inbox until the next deadline
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from inspect import isawaitable
from itertools import islice
from threading import RLock
from typing import Any

from outthink.core.branch import Branch
from outthink.core.drafting import AcceptRule, Drafter
from outthink.core.errors import BadInput, Cancelled, Deadlock, OutthinkError, PromptTooLong, UnknownName
from outthink.core.jobs import GenerateJob, ScoreJob
from outthink.core.needs import check_needs
from outthink.core.protocols import Backend
from outthink.core.receipt import Cost
from outthink.core.rng import Chance
from outthink.core.trampoline import Trampoline
from outthink.core.types import Answer
from outthink.engine.accounts import charge_pass
from outthink.engine.desk import Desk
from outthink.engine.flight import Flight, Work
from outthink.engine.limits import Limits
from outthink.engine.memory import Memory
from outthink.engine.offload import Offloads
from outthink.engine.place import Place
from outthink.engine.remote import RemotePlace
from outthink.engine.request import Request, Run, root_key
from outthink.engine.speculator import open_chance
from outthink.engine.trace import PassInfo, Trace


@dataclass(frozen=True, slots=True)
class Done:
    """One request of `map` that has ended: an answer, or the error that ended it."""

    request: Request
    answer: Answer | None
    error: BaseException | None


class Engine:
    """Runs requests on one or more models and endpoints. All of it happens on the thread that calls it."""

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
            raise BadInput(f"max_batch={max_batch}, max_rows={max_rows}, slots={slots}: give at least 1")
        self.trace = trace or Trace()
        self.clock = clock
        self.max_batch, self.max_rows = max_batch, max(max_rows, max_batch)
        self.main = self._place(backend, slots)
        self.places: dict[str, Place | RemotePlace] = {self.main.name: self.main}
        self._open_books()
        self.chances: Callable[[int, str], Chance] = open_chance  # a test may enumerate instead
        self.speculate: Drafter | None = None  # who drafts, where a request does not say
        self.accept: AcceptRule | None = None  # and by which rule; None is match
        self.memory = Memory()  # what drafters know from request to request
        self.warm = False  # whether that includes texts, where a request does not say
        self.alone = RLock()  # held while somebody runs: threads take turns
        self._count = 0

    def _open_books(self) -> None:
        """Nothing runs, nothing is in flight."""
        self.runs: dict[int, Run] = {}
        self.offloads = Offloads()
        self.desk = Desk(self)
        self.trampoline = Trampoline(self.desk)
        self.limits = Limits(self.trampoline, self.runs, self.clock)
        self._flights: dict[int, tuple[Place, Flight]] = {}

    def _start_over(self) -> None:
        """After Ctrl-C at any moment of a turn, when anything may be half done: all requests are gone, and so
        is what was known of the cache."""
        self.offloads.close()
        self.trampoline.scrap()
        self._open_books()
        self.places = {name: place.anew() for name, place in self.places.items()}
        self.main = self.places[self.main.name]
        self.memory.forget()  # a drafter may have been interrupted while it learned

    def __repr__(self) -> str:
        return f"Engine({self.main.name!r}, {self.main.backend.machine})"

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ---- what users call

    def run(self, request: Request) -> Answer:
        """Run one request to its end and return the answer. Raises what the strategy raised.

        Another thread that asks meanwhile waits for its turn; `map` is how work goes on side by side.
        """
        with self.alone:
            [done] = list(self.map([request]))
        if done.error is not None:
            raise done.error
        assert done.answer is not None
        return done.answer

    def map(self, requests: Iterable[Request], concurrency: int = 32) -> Iterator[Done]:
        """Run many at once on the shared tree; results as they end, the next begun when one is taken."""
        source, active = iter(requests), list[Run]()
        try:
            active += [self._begin(r) for r in islice(source, concurrency)]
            while active:
                if not any(run.is_done for run in active):
                    self.turn()
                for run in [r for r in active if r.is_done]:
                    active.remove(run)
                    yield Done(run.request, run.answer, run.error)
                    active += [self._begin(r) for r in islice(source, 1)]
        except KeyboardInterrupt:
            active.clear()
            self._start_over()
            raise
        finally:
            for run in active:
                self.abort(run)

    def start(self, request: Request) -> Run:
        """Take a request in; `turn` until it is done. Raises BadInput for a prompt that cannot be used."""
        run, place = Run(self, request, self._count), self.main
        self._count += 1
        check_needs(request.strategy, place.can, place.name)
        if isinstance(place, RemotePlace):
            place.check(run)
        tokens = self._prompt(run, place)
        cursor = place.tree.open(tokens, salt=request.salt)
        run.root = Branch(run, place, cursor, (), root_key(request.seed, place.label))
        run.root.sampling = request.sampling
        run.scope.charge(Cost(read=len(tokens)))
        self.runs[run.number] = run
        self.trace.started(run)
        run.task = self.trampoline.start(_as_coroutine(request.strategy, run.root), run, run.scope)
        run.task.path = (run.number,)
        return run

    def abort(self, run: Run) -> None:
        """End a request now; its branches and cache go."""
        if run.task is not None and not run.task.is_done:
            self.limits.end(run.scope, "aborted")
        self.forget(run)

    def stop(self, run: Run, what: str) -> None:
        """End a request now, with the best answer that it has; `what` goes on the receipt."""
        if run.task is not None and not run.task.is_done:
            self.limits.end(run.scope, what)

    def rest(self, seconds: float) -> None:
        """Sleep until `nudge`, the return of a call that was offloaded, or for so many seconds."""
        self.offloads.wait(seconds)

    def nudge(self) -> None:
        """End a sleep of the engine. The one method that other threads may call."""
        self.offloads.inbox.notify()

    def close(self) -> None:
        """End everything and stop the worker processes."""
        for run in list(self.runs.values()):
            self.abort(run)
        self.offloads.close()
        for place in self.places.values():
            if isinstance(place, RemotePlace):
                place.backend.close()

    def place(self, model: str | None) -> Place | RemotePlace:
        """The model of that name; None is the engine's own."""
        if model is None:
            return self.main
        if model not in self.places:
            raise UnknownName("model in this engine", model, self.places)
        return self.places[model]

    def add(self, backend: Backend, slots: int = 65536) -> None:
        """Put another model beside the main one, for judges and routers."""
        place = self._place(backend, slots)
        self.places[place.name] = place

    def _place(self, backend: Backend, slots: int) -> Place | RemotePlace:
        if backend.is_remote:
            return RemotePlace(backend)
        own = getattr(backend, "clock", self.clock)
        clock = own if self.clock is time.perf_counter else self.clock
        return Place(backend, slots, self.max_batch, self.max_rows, clock)

    def forget(self, run: Run) -> None:
        """Let go of what a run still holds."""
        if run.root is not None and not run.root.is_closed:
            self.desk.close(run.root, "done")
        self.runs.pop(run.number, None)
        share = run.request.share
        is_last = all(other.request.share != share for other in self.runs.values())
        for place in self.places.values():
            place.forget(run, is_last)
        run.distinct.clear()
        run.tips.clear()

    # ---- one turn

    def turn(self) -> None:
        """Everything that can be done without waiting, then one pass or one wait."""
        began = self.clock()
        self._settle()
        places = list(self.places.values())
        remote = [place for place in places if isinstance(place, RemotePlace) and place.works]
        for place in remote:
            for work, error in place.send(self.offloads.inbox):
                self.desk.fail(work, error)
        busy = [place for place in places if isinstance(place, Place) and place.works]
        if busy:
            self._pass(min(busy, key=lambda place: place.prices.weight_bytes), began)
        elif self.offloads.in_flight or any(place.sent for place in remote):
            self.offloads.wait(self.limits.next_deadline())
            self._settle()
        elif self.trampoline.live and not self.trampoline.ready:
            self._deadlock()

    def _settle(self) -> None:
        """Step coroutines, and all that follows from where they stand, until nothing changes."""
        self._receive()
        self.trampoline.run()
        while True:
            self.desk.grant()
            changed = self._lost_races() or self.limits.enforce(self._working())
            if not (changed or self.desk.release() or self.desk.think()):
                return
            self.trampoline.run()

    def _working(self) -> Iterator[Work]:
        for place in self.places.values():
            yield from place.works

    def _pass(self, place: Place, began: float) -> None:
        try:
            flight = place.fly(self.offloads.inbox, place.runs_on and not self.limits.counts_passes())
        except OutthinkError as error:
            assert place.admission.culprit is not None
            self.desk.fail(place.admission.culprit, error)
            return
        self._flights[flight.job.number] = (place, flight)
        place.backend.step()
        self._receive(began)

    def _receive(self, began: float = 0.0) -> None:
        """Hand arrived results to whoever waits for them."""
        for job, result in self.offloads.inbox.take():
            entry = self._flights.pop(getattr(job, "number", -1), None)
            if entry is not None:
                self._landed(*entry, result, began)
            elif isinstance(job, (GenerateJob, ScoreJob)):
                self._heard(job, result)
            else:
                self.offloads.deliver(job, result, self.trampoline)

    def _landed(self, place: Place, flight: Flight, result: Any, began: float) -> None:
        if isinstance(result, BaseException):
            for work in flight.works():
                self.desk.fail(work, result)
            return
        listens = type(self.trace)
        ended = place.land(flight, result)
        if listens.wrote is not Trace.wrote:
            for stretch, tokens in flight.wrote:
                if not stretch.task.scope.is_draft:
                    self.trace.wrote(stretch.branch, tokens)
        for work in ended:
            if work.task.contestant is None:
                self.desk.deliver(work)
            else:
                self.desk.finished.append(work)  # it has ended in its own time; a race has one for all
        seconds = self.clock() - began
        charge_pass(flight, seconds, place.cache_bytes)
        if listens.passed is not Trace.passed:
            rows, drawn, steps = len(flight.job.batch), len(result.drawn), flight.job.steps
            parts = result.seconds / steps, seconds / steps
            for _ in range(steps):
                self.trace.passed(PassInfo(place.name, rows, drawn, place.tree.filled, *parts))

    def _heard(self, job: GenerateJob | ScoreJob, event: Any) -> None:
        """Something has come from an endpoint."""
        place = next(
            (p for p in self.places.values() if isinstance(p, RemotePlace) and job.number in p.sent), None
        )
        if place is None:
            return  # it was cancelled
        branch = place.sent[job.number].work.branch
        work, tokens, error = place.take(job, event)
        if tokens:
            self.trace.wrote(branch, tokens)
        if work is None:
            return
        try:
            if error is not None:
                raise error
            self.desk.done(work)
        except Exception as raised:  # one request's, not the engine's
            self.desk.fail(work, raised)

    def _lost_races(self) -> bool:
        losers = self.trampoline.race_losers() if self.trampoline.contests else []
        for task, limit in losers:
            self.trampoline.interrupt(task, Cancelled("it has lost its race"), limit)
        return bool(losers)

    def _deadlock(self) -> None:
        stuck = ", ".join(f"{t.path}: {type(t.waiting).__name__}" for t in self.trampoline.live)
        error = Deadlock(f"nothing can run, nothing is in flight; waiting: {stuck}")
        for task in [t for t in self.trampoline.live if t not in self.trampoline.contests]:
            self.trampoline.wake(task, error=error)

    # ---- taking requests in

    def _begin(self, request: Request) -> Run:
        """Start a request; one that cannot be started is done with its error."""
        try:
            return self.start(request)
        except OutthinkError as error:
            run = Run(self, request, self._count)
            run.error = error
            return run

    def _prompt(self, run: Run, place: Place | RemotePlace) -> list[int]:
        text, tokens = run.problem.prompt, list(run.request.tokens)
        if not tokens and not text.strip():
            raise BadInput("the prompt is empty")
        bad = next((t for t in tokens if not 0 <= t < place.vocab), None)
        if bad is not None:
            raise BadInput(f"token {bad} of the prompt is outside the vocabulary of {place.vocab}")
        if tokens:
            pass
        elif run.request.raw:
            tokens = place.tokenizer.encode(text)
        else:
            tokens = place.tokenizer.chat([{"role": "user", "content": text}])
        if len(tokens) >= place.context:
            raise PromptTooLong(
                f"the prompt has {len(tokens)} tokens; {place.name} accepts {place.context}, answer included"
            )
        return tokens


async def _as_coroutine(strategy: Any, root: Branch) -> Answer:
    """Call a strategy inside its task, so that whatever goes wrong is the task's error."""
    made = strategy(root)
    if not isawaitable(made):
        raise BadInput(f"{strategy!r} returned {type(made).__name__}: a strategy is `async def`")
    answer: Answer = await made
    return answer
