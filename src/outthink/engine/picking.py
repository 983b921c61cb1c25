"""Tokens that a strategy has chosen: written without a pass, since their distribution is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outthink.engine.accounts import writing_demand
from outthink.engine.trace import Trace

if TYPE_CHECKING:
    from outthink.core.branch import Branch
    from outthink.core.ledger import Request as Reservation
    from outthink.core.tasks import Task
    from outthink.core.work import PickWork
    from outthink.engine.request import Run


class Picking:
    """A `PickWork` in progress."""

    __slots__ = ("work", "task", "run", "allowed", "reservation", "ends", "begins")

    def __init__(self, work: PickWork, task: Task, run: Run) -> None:
        self.work = work
        self.task = task
        self.run = run
        self.allowed = len(work.picks)  # how many may be written
        self.reservation: Reservation | None = None
        self.ends: list[bool] = []  # of each that was written: whether it is an end token
        self.begins: list[int] = []  # how long its path was before

    @property
    def branch(self) -> Branch:
        return self.work.picks[0].branch

    def demand(self, tokens: int) -> dict[str, float]:
        """What writing the first so many takes at most."""
        found: dict[str, float] = {}
        for branch, _ in self.work.picks[:tokens]:
            for resource, amount in writing_demand(self.run, branch, 1).items():
                found[resource] = found.get(resource, 0.0) + amount
        return found

    def write(self, trace: Trace) -> None:
        """Write what is allowed."""
        picks = self.work.picks[: self.allowed]
        is_told = type(trace).wrote is not Trace.wrote and not self.task.scope.is_draft
        for branch, (token, logprob, stats, _) in picks:
            self.begins.append(branch.cursor.length)
            branch.place.tree.append(branch.cursor, token)
            branch.logps.append(logprob)
            for name, value in zip(branch.sampling.stats, stats, strict=True):
                branch.stats.setdefault(name, []).append(value)
            self.ends.append(token in branch.place.eos and not branch.sampling.ignore_eos)
            if is_told:
                trace.wrote(branch, [token])
        if self.task.contestant is not None:
            self.task.write(len(picks))

    def settle(self, limit: int | None, discarded: bool = False) -> None:
        """Charge what was written; `limit` cuts the logical book at so many tokens of its race."""
        scope = self.task.scope
        if scope.is_draft:
            return
        if self.reservation is not None:
            self.reservation.give_back()
            self.reservation = None
        real, excess, positions, flops = len(self.ends), 0, 0, 0.0
        if limit is not None and self.task.contestant is not None:
            excess = min(real, max(0, self.task.contestant.written - limit))
        for (branch, _), rows in zip(self.work.picks[: real - excess], self.begins, strict=False):
            fresh = self.run.demand(branch, rows)
            if fresh:
                prices, positions = branch.place.prices, positions + fresh
                flops += prices.rows(rows - fresh, rows) + prices.flops_head
        thrown = real if discarded else 0
        scope.charge_written(real - excess, positions, flops, max(0, thrown - excess))
        scope.charge_actual_written(real, thrown)
