"""The trampoline: strategies are plain coroutines, and this is the only module that yields.

Three traps: *evaluate* (something the engine must compute), *join* (other tasks), *offload* (Python
elsewhere). Awaiting anything else is refused. The engine steps every coroutine until all wait, in the order
of their paths, then forms one batch of everything that waits: batching is automatic and reproducible.

Rules of a task: one pending await; an await after an interruption raises again; it ends after its children;
what it forked closes with it unless returned.
"""

from __future__ import annotations

import copy
import sys
import time
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar, overload

from outthink.core.errors import BudgetExceeded, Cancelled, Interrupted, Misuse
from outthink.core.ledger import Scope

T = TypeVar("T")
SLOW_STEP = 0.05  # seconds of processor time; holding the loop longer than this is reported
STALE = 0.01  # seconds after which the processor's clock is read again
SLOW_WAIT = 0.5  # seconds of any kind: a busy machine alone is no reason to complain


@dataclass(slots=True)
class Evaluate:
    """Trap: the engine computes `work` and wakes the task with its result."""

    work: Any


@dataclass(slots=True)
class Offload:
    """Trap: `function(*args)` runs in a worker process, or in a thread if it is marked as I/O."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    io: bool
    timeout: float | None


@dataclass(slots=True)
class Join:
    """Trap: start `coroutines` as children. With `first`, the first so many by (tokens written, order)
    win."""

    coroutines: Sequence[Coroutine[Any, Any, Any]]
    first: int | None = None
    scopes: Sequence[Scope] | None = None


Trap = Evaluate | Offload | Join


@types.coroutine
def _trap(trap: Trap) -> Generator[Trap, Any, Any]:
    return (yield trap)


async def evaluate(work: Any) -> Any:
    """Have the engine compute `work`."""
    return await _trap(Evaluate(work))


async def offload(
    function: Callable[..., Any], *args: Any, io: bool = False, timeout: float | None = None
) -> Any:
    """Run Python elsewhere: a worker process by default, a daemon thread for calls that only wait
    (`io=True`).

    Raises TimeoutError after `timeout` seconds, and what the function raises.
    """
    return await _trap(Offload(function, args, io, timeout))


@overload
async def gather(*coroutines: Coroutine[Any, Any, T], share: None = None) -> list[T]: ...
@overload
async def gather(*coroutines: Coroutine[Any, Any, T], share: str | None) -> list[T | None]: ...
async def gather(*coroutines: Coroutine[Any, Any, Any], share: str | None = None) -> list[Any]:
    """Run all, wait for all; results in order.

    If one raises, the others are cancelled, and when all have ended the error is raised here. `share="even"`
    splits what is left of the written tokens evenly; a child that exhausts its share gives None. While others
    in the same scope are at work, what is left depends on when: share within a `limit` of your own.
    """
    if share not in (None, "even"):
        raise Misuse(f"gather(share={share!r}): give None or 'even'")
    scopes = _even(len(coroutines)) if share and coroutines else None
    result: list[Any] = await _trap(Join(coroutines, None, scopes))
    return result


async def race(*coroutines: Coroutine[Any, Any, T], first: int = 1) -> list[T]:
    """The results of the `first` contestants to end, in the order (tokens written, position among the
    contestants).

    Time is tokens written, so the schedule cannot change who wins. A contestant is killed, and its cache
    freed, as soon as it has written more than the last winner. In the logical book a loser's last stretch of
    writing is cut at that moment.
    """
    if first < 1:
        raise Misuse(f"race(first={first}): give at least 1")
    result: list[Any] = await _trap(Join(coroutines, first, None))
    return result


def _even(n: int) -> list[Scope]:
    task = current()
    left = task.scope.room("written")
    caps = {} if left == float("inf") else {"written": float(int(left) // n)}
    return [Scope(f"{task.scope.name}/share{i}", task.scope, dict(caps)) for i in range(n)]


class Task:
    """A coroutine with its place: parent, order, budget scope, strategy depth, and the branches that it
    owns."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], run: Any, parent: Task | None, scope: Scope
    ) -> None:
        self.coroutine = coroutine
        self.run = run
        self.parent = parent
        self.scope = scope
        self.path: tuple[int, ...] = ()
        self.depth = 0
        self.joins = 0
        self.children: list[Task] = []
        self.waiting: Trap | None = None
        self.pending: Interrupted | None = None
        self.branches: dict[Any, None] = {}
        self.asked: int = parent.asked if parent else 0  # reservations made on the way here; only grows
        self.contest: Contest | None = None  # the race that this is a contestant of
        self.contestant: Task | None = (
            parent.contestant if parent else None
        )  # nearest contestant above, or this
        self.written = 0  # tokens, as a contestant
        self.is_done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def write(self, tokens: int) -> None:
        """Count tokens for every race that this runs in."""
        at = self.contestant
        while at is not None:
            at.written += tokens
            at = at.parent.contestant if at.parent else None


@dataclass(slots=True)
class Contest:
    """A join in progress; with `first` set, a race."""

    parent: Task
    first: int | None
    tasks: list[Task] = field(default_factory=list)

    def threshold(self) -> tuple[int, int] | None:
        """(tokens written, index) of the last winner, once it is known that there are enough."""
        if self.first is None:
            return None
        ended = sorted((t.written, i) for i, t in enumerate(self.tasks) if t.is_done and t.error is None)
        return ended[self.first - 1] if len(ended) >= self.first else None

    def losers(self) -> list[tuple[Task, int]]:
        """Contestants that run on although they have lost, with the tokens at which they had."""
        edge = self.threshold()
        if edge is None:
            return []
        return [
            (t, edge[0] + (i < edge[1]))
            for i, t in enumerate(self.tasks)
            if not t.is_done and t.pending is None and (t.written, i) > edge
        ]

    def winners(self) -> list[Any]:
        ended = sorted((t.written, i) for i, t in enumerate(self.tasks) if t.error is None)
        return [self.tasks[i].result for _, i in ended[: self.first]]


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


_current: Task | None = None


def current() -> Task:
    """The task that runs now. Misuse outside a strategy."""
    if _current is None:
        raise Misuse("this works only inside a strategy that an engine runs")
    return _current


def running() -> Task | None:
    """The task that runs now, if any."""
    return _current


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
        global _current
        before, _current = _current, task
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
            _current = before
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
        for i, coroutine in enumerate(trap.coroutines):
            scope = trap.scopes[i] if trap.scopes else parent.scope
            child = self.start(coroutine, parent.run, scope, parent)
            child.path = (*parent.path, parent.joins, i)
            child.depth = parent.depth + _strategy_frames(parent.coroutine)
            if trap.first is not None:
                child.contest, child.contestant = contest, child
            contest.tasks.append(child)
            parent.children.append(child)
        if not contest.tasks:
            self._joined(contest)

    def _end(self, task: Task, result: Any, error: BaseException | None) -> None:
        task.is_done, task.result, task.error = True, result, error
        self.live.pop(task, None)
        self.host.ended(task)
        parent = task.parent
        if parent is None:
            return
        parent.children.remove(task)
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
