"""Between a branch and its engine: what is asked for, what comes back, and what each knows of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from outthink.core.draft import Draft
from outthink.core.errors import BudgetExceeded
from outthink.core.jobs import Drawn
from outthink.core.ledger import Scope, open_scope
from outthink.core.tasks import Task, current
from outthink.core.tree import Cursor, Tree
from outthink.core.types import Answer, Budget, Can, Dist, Sampling, Want

if TYPE_CHECKING:
    from outthink.core.branch import Branch
    from outthink.core.problem import Problem


class Ask(NamedTuple):
    """The distribution after the first `length` tokens of a cursor's path, reduced to `want`."""

    cursor: Cursor
    length: int
    want: Want


@dataclass(slots=True, eq=False)
class ReadWork:
    """Evaluate: one Dist per ask, in order.

    With `owners`, each ask is about the tip of a branch of its own, and under a cap only as many are answered
    as there is room for, the first ones.
    """

    branch: Branch
    asks: list[Ask]
    owners: Sequence[Branch] | None = None


@dataclass(slots=True, eq=False)
class WriteWork:
    """Evaluate: write on a branch until something ends it; a Finish."""

    branch: Branch
    sampling: Sampling


class Pick(NamedTuple):
    """A token that a strategy has chosen, with what is known of it, and the branch that it is written on."""

    branch: Branch
    drawn: Drawn


@dataclass(slots=True, eq=False)
class PickWork:
    """Evaluate: write one token on each of these branches; for each whether that was an end token. Under a
    cap only as many are written as there is room for, the first ones."""

    picks: Sequence[Pick]


class Rows(NamedTuple):
    """What a forced continuation scored: the log-probability of each token, and each row as wanted."""

    logprobs: tuple[float, ...]
    dists: tuple[Dist, ...]

    @property
    def logprob(self) -> float:
        return sum(self.logprobs)


class Peek(NamedTuple):
    """What a draft evaluates to: the distribution after each of its nodes, in their order."""

    draft: Draft
    dists: tuple[Dist, ...]


class Offer(NamedTuple):
    """An answer that stands if the budget ends now."""

    depth: int  # of the strategy call that made it: an outer call's beat an inner call's
    rank: float
    path: tuple[int, ...]
    answer: Answer


class Place(Protocol):
    """One model as branches see it."""

    name: str
    label: str  # the same, but for where a directory lies
    tree: Tree
    tokenizer: Any
    vocab: int
    eos: frozenset[int]
    context: int
    can: Can
    prices: Any
    directory: str  # where its weights are; empty for a model that has none here

    def dollars(self, read: int, written: int) -> float:
        """What so many tokens cost."""
        ...


class RunLike(Protocol):
    """One request as branches see it: an answer under construction."""

    problem: Problem
    seed: int
    salt: str  # of its cache
    live: int

    def place(self, model: str | None) -> Place: ...
    def offer(self, offer: Offer) -> None: ...
    def stands(self, depth: int, rank: float, path: tuple[int, ...]) -> bool: ...
    def now(self) -> float: ...
    def need_room(self, n: int) -> None: ...
    def born(self, branch: Branch) -> None: ...
    def forked(self, child: Branch, parent: Branch) -> None: ...
    def closed(self, branch: Branch, why: str) -> None: ...
    def published(self, branch: Branch, length: int) -> None: ...
    def degrade(self, what: str, why: str) -> None: ...
    def writes_surely(self, branch: Branch, sampling: Sampling) -> None: ...
    def write_now(self, picks: Sequence[Pick]) -> list[bool]: ...


class Limit:
    """The context manager behind `Branch.limit`."""

    def __init__(self, run: RunLike, name: str, budget: Budget, keep: Budget | None) -> None:
        self.run, self.name, self.budget, self.keep = run, name, budget, keep
        self.scope: Scope | None = None
        self.task: Task | None = None

    def __enter__(self) -> Scope:
        self.task = current()
        self.scope = open_scope(self.task.scope, self.name, self.budget, self.run.now(), self.keep)
        self.task.scope = self.scope
        return self.scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool:
        assert self.scope is not None and self.task is not None and self.scope.parent is not None
        self.scope.is_open = False
        self.task.scope = self.scope.parent
        return isinstance(error, BudgetExceeded) and error.scope is self.scope
