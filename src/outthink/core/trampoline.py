"""The trampoline: it steps every coroutine until all wait, in the order of their paths. The engine then forms
one batch of everything that waits: batching is automatic and reproducible."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from outthink.core.errors import BudgetExceeded, Cancelled, Interrupted, Misuse
from outthink.core.ledger import Scope
from outthink.core.tasks import Contest, Evaluate, Join, Offload, Task, enter

SLOW_STEP = 0.05  # seconds of processor time; holding the loop longer than this is reported
STALE = 0.01  # seconds after which the processor's clock is read again
SLOW_WAIT = 0.5  # seconds of any kind: a busy machine alone is no reason to complain


class Host(Protocol):
    """What the trampoline needs from the engine."""

    def begin(self, task: Task, trap: Evaluate | Offload) -> None:
        """A task waits for this now; wake it later."""
        ...

    def abandon(self, task: Task, limit: int | None) -> None:
        """Stop working for a task that waits; `limit` cuts its logical cost at so many tokens as a
        contestant."""
        ...

    def ended(self, task: Task) -> None:
        """A task has ended: close the branches that it still owns."""
        ...

    def slow(self, task: Task, seconds: float) -> None:
        """A task held the loop too long."""
        ...


class Clocks(NamedTuple):
    """Both clocks of a thread at one moment, in seconds."""

    wall: float
    worked: float  # by the processor, for this thread

    @classmethod
    def now(cls) -> Clocks:
        return cls(time.perf_counter(), time.thread_time())


class Trampoline:
    """Steps tasks until all wait."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.ready: list[tuple[Task, Any, BaseException | None]] = []
        self.contests: dict[Task, Contest] = {}
        self.live: dict[Task, None] = {}
        self._clocks = Clocks.now()

    def start(
        self, coroutine: Coroutine[Any, Any, Any], run: Any, scope: Scope, parent: Task | None = None
    ) -> Task:
        """Add a task; it first runs in the next `run`."""
        task = Task(coroutine, run, parent, scope)
        self.live[task] = None
        self.ready.append((task, None, None))
        return task

    def wake(self, task: Task, value: Any = None, error: BaseException | None = None) -> None:
        """Let a waiting task go on with a value, or raise an error in it."""
        if not task.is_done:
            task.waiting = None
            self.ready.append((task, value, error))

    def run(self) -> None:
        """Step until every task waits. Tasks that are ready together run in the order of their paths."""
        if time.perf_counter() - self._clocks.wall > STALE:
            self._clocks = Clocks.now()
        while self.ready:
            batch, self.ready = sorted(self.ready, key=lambda entry: entry[0].path), []
            for place, (task, value, error) in enumerate(batch, 1):
                if task.is_done:
                    continue
                try:
                    self._step(task, value, error)
                except BaseException:  # Ctrl-C: who was to come after still is
                    self.ready = batch[place:] + self.ready
                    raise

    def scrap(self) -> None:
        """Close every coroutine, wherever it stands and whatever it says: none is stepped again."""
        for task in reversed(list(self.live)):
            with suppress(Exception):
                task.coroutine.close()

    def race_losers(self) -> list[tuple[Task, int]]:
        """Contestants that have lost but still run."""
        return [loser for contest in list(self.contests.values()) for loser in contest.losers()]

    def interrupt(self, task: Task, error: Interrupted, limit: int | None = None) -> None:
        """End a task at its trap: its children first, then itself."""
        if task.is_done:
            return
        task.pending = error
        if isinstance(task.waiting, Join):
            for child in self.contests[task].tasks:
                self.interrupt(child, Cancelled("its parent is being ended"), limit)
        elif task.waiting is not None:
            self.host.abandon(task, limit)
            self.wake(task, error=error)
        # else: it is ready already, and its next trap raises

    def _step(self, task: Task, value: Any, error: BaseException | None) -> None:
        before = enter(task)
        began = time.perf_counter()
        try:
            trap = task.coroutine.throw(error) if error is not None else task.coroutine.send(value)
        except StopIteration as stop:
            self._end(task, stop.value, None)
            return
        except KeyboardInterrupt:  # for whoever turns the engine: the parents would raise it a second time
            self._end(task, None, Cancelled("interrupted from the keyboard"))
            raise
        except BaseException as raised:  # the task's end, whatever it was: it is handed to whoever waits
            self._end(task, None, raised)
            return
        finally:
            enter(before)
            held = time.perf_counter() - began
            if held > SLOW_STEP:
                self._held_long(task, began, held)
        self._wait(task, trap)

    def _held_long(self, task: Task, began: float, held: float) -> None:
        """Report a long step, unless a busy machine is all that made it long.

        Its processor time is at least that since the clocks were read, less all time from there to the step.
        They are not read at every step: that may cost more than the step.
        """
        now = Clocks.now()
        worked = now.worked - self._clocks.worked - (began - self._clocks.wall)
        self._clocks = now
        if held > SLOW_WAIT or worked > SLOW_STEP:
            self.host.slow(task, held)

    def _wait(self, task: Task, trap: Any) -> None:
        if self._still_pending(task):
            if isinstance(trap, Join):
                for coroutine in trap.coroutines:
                    coroutine.close()
            self.ready.append((task, None, task.pending))
        elif isinstance(trap, Join):
            self._join(task, trap)
        elif isinstance(trap, (Evaluate, Offload)):
            task.waiting = trap
            self.host.begin(task, trap)
        else:
            hint = "await what a Branch offers, gather, race, or offload for other libraries"
            self.ready.append((task, None, Misuse(f"a strategy awaited {type(trap).__name__}: {hint}")))

    def _still_pending(self, task: Task) -> bool:
        pending = task.pending
        if isinstance(pending, BudgetExceeded) and not pending.scope.is_open:
            task.pending = None
        return task.pending is not None

    def _join(self, parent: Task, trap: Join) -> None:
        contest = Contest(parent, trap.first)
        parent.waiting = trap
        self.contests[parent] = contest
        parent.joins += 1
        depth = parent.depth + _strategy_frames(parent.coroutine)
        for i, coroutine in enumerate(trap.coroutines):
            scope = trap.scopes[i] if trap.scopes else parent.scope
            child = self.start(coroutine, parent.run, scope, parent)
            child.path = (*parent.path, parent.joins, i)
            child.depth = depth
            if trap.first is not None:
                child.contest, child.contestant = contest, child
            contest.tasks.append(child)
        if not contest.tasks:
            self._joined(contest)

    def _end(self, task: Task, result: Any, error: BaseException | None) -> None:
        task.is_done, task.result, task.error = True, result, error
        self.live.pop(task, None)
        self.host.ended(task)
        parent = task.parent
        if parent is None:
            return
        contest = self.contests.get(parent)
        if contest is None:
            return
        if error is not None and not isinstance(error, Interrupted):
            for sibling in contest.tasks:
                self.interrupt(sibling, Cancelled("a sibling failed"))
        if all(t.is_done for t in contest.tasks):
            self._joined(contest)

    def _joined(self, contest: Contest) -> None:
        parent = contest.parent
        del self.contests[parent]
        parent.asked = max([parent.asked, *(task.asked for task in contest.tasks)])
        for task in contest.tasks:
            if isinstance(task.error, BudgetExceeded) and task.error.scope is task.scope is not parent.scope:
                task.error, task.result = None, None  # it used up its own share
            if task.scope is not parent.scope:
                task.scope.is_open = False
        error = parent.pending if parent.pending is not None else _worst(contest)
        if error is not None:
            self.wake(parent, error=error)
        else:
            self.wake(parent, contest.winners() if contest.first else [t.result for t in contest.tasks])


def _worst(contest: Contest) -> BaseException | None:
    """What a join raises: a real error first, else the exhaustion of the outermost scope, else a
    cancellation."""
    errors = [t.error for t in contest.tasks if t.error is not None]
    if contest.first:  # losers were cancelled on purpose
        errors = [e for e in errors if not isinstance(e, Cancelled)]
    real = [e for e in errors if not isinstance(e, Interrupted)]
    if real:
        return fresh(real[0])
    budget = [e for e in errors if isinstance(e, BudgetExceeded)]
    if budget:
        return min(budget, key=lambda e: len(e.scope.name))
    return errors[0] if errors else None


def fresh(error: BaseException) -> BaseException:
    """A copy of an error to raise in another task, with the original as its cause."""
    try:
        new = copy.copy(error)
    except Exception:  # its __init__ takes something else than its args
        new = type(error).__new__(type(error), *error.args)
        new.__dict__.update(error.__dict__)
    new.__traceback__ = None
    new.__cause__ = error
    return new


def _strategy_frames(coroutine: Any) -> int:
    """How many suspended coroutine `__call__` frames a task's chain of awaits holds."""
    depth = 0
    while coroutine is not None and hasattr(coroutine, "cr_code"):
        depth += coroutine.cr_code.co_name == "__call__"
        coroutine = coroutine.cr_await
    return depth


def call_depth(base: int = 0) -> int:
    """How deep in strategy calls the caller is: coroutine `__call__` frames on the stack, plus the task's
    own base."""
    frame, depth = sys._getframe(1), base
    while frame is not None and frame.f_code is not Trampoline._step.__code__:
        code = frame.f_code
        if code.co_name == "__call__" and code.co_flags & 0x80:  # a coroutine function
            depth += 1
        frame = frame.f_back  # type: ignore[assignment]
    return depth
