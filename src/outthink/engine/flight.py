"""Work that waits for passes, a pass while it is put together, and one on its way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outthink.core.batch import Move
from outthink.core.branch import Branch
from outthink.core.jobs import PassJob
from outthink.core.receipt import Cost
from outthink.core.tasks import Task
from outthink.core.tree import Node
from outthink.core.types import Dist
from outthink.core.work import Ask, ReadWork
from outthink.engine.steady import Steady
from outthink.engine.stretch import Stretch

if TYPE_CHECKING:
    from outthink.core.ledger import Request as Reservation
    from outthink.engine.request import Run


@dataclass(slots=True, eq=False)
class Reading:
    """A `ReadWork` in progress."""

    work: ReadWork
    task: Task
    run: Run
    left: dict[int, Ask] = field(default_factory=dict)
    dists: dict[int, Dist] = field(default_factory=dict)
    reservation: Reservation | None = None

    @property
    def branch(self) -> Branch:
        return self.work.branch

    def allow(self, count: int) -> None:
        """Read only the first so many, where each ask is about a branch of its own."""
        if self.work.owners is not None:
            self.left = dict(enumerate(self.work.asks[:count]))

    @property
    def is_hidden(self) -> bool:
        """Whether it wants hidden states: they are computed in passes of their own."""
        return any(ask.want.hidden for ask in self.left.values())


Work = Stretch | Reading


@dataclass(slots=True)
class Plan:
    """One pass while it is being put together."""

    room: int
    ranges: dict[Node, list[tuple[int, int]]] = field(default_factory=dict)
    wanted: set[tuple[Node, int]] = field(default_factory=set)
    moves: list[list[Move]] = field(default_factory=lambda: [[]])
    draws: list[tuple[Stretch, int, Node, int]] = field(
        default_factory=list
    )  # (whose, node of its draft, row)
    reads: list[tuple[Reading, int, Node, int]] = field(default_factory=list)
    rows: dict[Work, int] = field(default_factory=dict)  # new rows by who brought them
    again: list[tuple[Stretch, int, int]] = field(
        default_factory=list
    )  # draws from logits that the backend has kept: (whose, node of its draft, number)
    heard: list[tuple[Reading, int, int]] = field(
        default_factory=list
    )  # reads of logits that the backend has kept: (whose, which ask, number)
    is_hidden: bool = False  # for hidden states, not for logits


@dataclass(slots=True)
class Flight:
    """A pass on its way: the job, and whose draws and reads are in it."""

    plan: Plan
    job: PassJob
    cost: Cost
    writers: list[tuple[Stretch, int]]  # one for each draw: whose, and after which node of its draft
    where: dict[tuple[Node, int], int]  # wanted rows
    tops: list[int] = field(default_factory=list)  # draws whose likeliest tokens are read too, for drafters
    began: float | None = None  # by the clock of the place; None: nobody wants to know what the pass takes
    is_silent: bool = False  # whether nobody who drafts is to hear of it
    steady: Steady | None = None  # set where the pass was made from the last one
    wrote: list[tuple[Stretch, list[int]]] = field(
        default_factory=list
    )  # after landing: tokens that were written

    @property
    def is_drafted(self) -> bool:
        """Whether nodes of a draft are checked in it."""
        return any(at >= 0 for _, at in self.writers)

    def works(self) -> list[Work]:
        """All work that the pass is for."""
        plan, writers = self.plan, (stretch for stretch, _ in self.writers)
        readers = [entry[0] for entry in plan.reads], [entry[0] for entry in plan.heard]
        return list(dict.fromkeys([*plan.rows, *writers, *readers[0], *readers[1]]))
