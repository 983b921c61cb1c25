"""Keeping budgets: who may write now, and what happens when a cap is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from outthink.core.errors import BudgetExceeded
from outthink.core.ledger import Request as Reservation
from outthink.core.ledger import Scope, grants
from outthink.core.tasks import Task
from outthink.core.trampoline import Trampoline
from outthink.engine.flight import Work
from outthink.engine.picking import Picking


class Limits:
    """The line of reservations, deadlines, and the end of exhausted scopes."""

    def __init__(self, trampoline: Trampoline, runs: Mapping[int, Any], clock: Callable[[], float]) -> None:
        self.trampoline = trampoline
        self.runs = runs
        self.clock = clock
        self.line: dict[Reservation, Work | Picking] = {}
        self.starved: list[Reservation] = []  # found when grants were last made
        self.full: list[BudgetExceeded] = []  # scopes that want more branches than may live

    def ask(
        self, task: Task, work: Work | Picking, tokens: int, demand: Callable[[int], dict[str, float]]
    ) -> Reservation:
        """Put work in line: it may begin when its reservation is granted."""
        reservation = Reservation(task.scope, (task.asked, task.path), tokens, demand, task)
        task.asked += 1
        self.line[reservation] = work
        return reservation

    def granted(self) -> list[tuple[Reservation, Work | Picking]]:
        """Work whose reservation has just been granted. Called when every task waits."""
        given, self.starved = grants(list(self.line), self._may_still_ask) if self.line else ([], [])
        return [(reservation, self.line.pop(reservation)) for reservation in given]

    def enforce(self, working: Iterable[Work]) -> bool:
        """End what a reached cap ends; whether anything was."""
        full, self.full = self.full, []
        if sum([self.end(error.scope, error.what) for error in full]):  # all of them
            return True
        if self.starved and self._starved():
            return True
        if not any(run.scope.is_metered for run in self.runs.values()):
            return False
        return self._deadlines() or self._spent(working)

    def counts_passes(self) -> bool:
        """Whether something may have to end after a certain pass."""
        return any(run.scope.is_counted for run in self.runs.values())

    def next_deadline(self) -> float | None:
        """Seconds until the next deadline, if there is one."""
        ends = [s.deadline for s in self._scopes() if s.deadline is not None and not s.exhausted]
        return max(0.0, min(ends) - self.clock()) if ends else None

    def end(self, scope: Scope, what: str) -> bool:
        """End every task inside a scope at its trap; whether there were any."""
        joined = self.trampoline.contests
        inside = [t for t in self.trampoline.live if t.scope.inside(scope) and t not in joined]
        for task in inside:
            self.trampoline.interrupt(task, BudgetExceeded(scope, what))
        self.trampoline.run()
        return bool(inside)

    def crowded(self, scope: Scope, most: int) -> BudgetExceeded:
        """What to raise in a task that asks for more branches than may live; all else in the scope ends when
        every task waits.

        Where several texts are searched at once this depends on who comes first, as with seconds: it is a
        guard, no budget.
        """
        scope.exhausted = "branches"
        error = BudgetExceeded(scope, f"branches={most} in {scope.name}")
        self.full.append(error)
        return error

    def _exhaust(self, scope: Scope, resource: str) -> bool:
        scope.exhausted = resource
        return self.end(scope, f"{resource}={scope.caps.get(resource, 0):g} in {scope.name}")

    def _deadlines(self) -> bool:
        now = self.clock()
        for scope in self._scopes():
            if scope.deadline is not None and now >= scope.deadline and not scope.exhausted:
                return self._exhaust(scope, "seconds")
        return False

    def _starved(self) -> bool:
        """Nothing is out, and there is not room for one token more."""
        starved, self.starved = self.starved, []
        return bool(starved) and self._exhaust(*starved[0].blocker())

    def _spent(self, working: Iterable[Work]) -> bool:
        for scope in dict.fromkeys(work.task.scope for work in working):
            found = scope.spent_out()
            if found is not None:
                return self._exhaust(*found)
        return False

    def _may_still_ask(self, reservation: Reservation) -> bool:
        """Whether a task that comes earlier in the order could yet ask under the same caps."""
        capped = [s for s in reservation.scope.chain() if s.caps]
        waiting = {r.task for r in self.line if not r.granted}  # granted just now: it goes on, and may ask
        for task in self.trampoline.live:
            if task in waiting or task in self.trampoline.contests:
                continue
            if any(task.scope.inside(s) for s in capped) and (task.asked, task.path) < reservation.order:
                return True
        return False

    def _scopes(self) -> Iterator[Scope]:
        for run in list(self.runs.values()):
            yield from _open(run.scope)


def _open(scope: Scope) -> Iterator[Scope]:
    if scope.is_open:
        yield scope
        for child in scope.children:
            yield from _open(child)
