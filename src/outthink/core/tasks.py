"""What strategies await, and the tasks that do: strategies are plain coroutines, and this is the only module
that yields.

Three traps: *evaluate* (something the engine must compute), *join* (other tasks), *offload* (Python
elsewhere). Awaiting anything else is refused.

Rules of a task: one pending await; an await after an interruption raises again; it ends after its children;
what it forked closes with it unless returned.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from outthink.core.errors import Interrupted, Misuse
from outthink.core.ledger import Scope

T = TypeVar("T")


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


_current: Task | None = None


def current() -> Task:
    """The task that runs now. Misuse outside a strategy."""
    if _current is None:
        raise Misuse("this works only inside a strategy that an engine runs")
    return _current


def running() -> Task | None:
    """The task that runs now, if any."""
    return _current


def enter(task: Task | None) -> Task | None:
    """Make a task the one that runs now; which one did before. For the trampoline."""
    global _current
    before, _current = _current, task
    return before
