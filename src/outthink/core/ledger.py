"""Budget scopes, reservations, and the two books. The scope tree is the receipt.

A scope covers the task that opened it and every task started inside. A charge goes to the nearest *open*
scope and all above. Caps on written, positions and flops bind on the logical book, which is deterministic;
caps on passes, seconds and dollars bind on the actual one. Of these dollars are reserved like tokens, because
all that an endpoint was asked for may arrive at once.

Writing inside a capped scope reserves first: `ask` puts a request in line, `grants` gives what fits, always
in the order of (how many requests its task has made in this scope, branch path). One that does not fit waits
for what earlier ones return; when nothing is out it gets what is left. So caps are never overspent, and who
gets what does not depend on batch, speed or speculation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from outthink.core.receipt import Cost
from outthink.core.types import Budget

RESERVED = ("written", "positions", "flops", "dollars")
METERED = ("passes", "dollars", "seconds")


class Scope:
    """One block of the budget tree. `name` is its path: "run", "run/think", "run/think/2"."""

    def __init__(self, name: str, parent: Scope | None = None, caps: dict[str, float] | None = None) -> None:
        self.name = name
        self.parent = parent
        self.caps = caps or {}
        self.logical = Cost()
        self.actual = Cost()
        self.out: dict[str, float] = dict.fromkeys(RESERVED, 0.0)
        self.is_open = True
        self.is_draft = False  # whether what happens here only serves speculation
        self.keeps_back = False  # whether something is set aside for after it
        self.exhausted: str | None = None  # which cap ended it
        self.late = 0  # charges that arrived after it closed
        self.deadline: float | None = None
        self.children: list[Scope] = []
        self.root: Scope = self if parent is None else parent.root
        self.is_metered = False  # of a root: whether a cap on an actual resource is anywhere below
        self.is_counted = False  # the same, and it grows with passes
        self.root.is_metered |= any(resource in self.caps for resource in METERED)
        self.root.is_counted |= any(resource in self.caps for resource in METERED[:2])
        if parent is not None:
            parent.children.append(self)

    def chain(self) -> Iterator[Scope]:
        """The open scopes that a charge here goes to, innermost first."""
        at: Scope | None = self
        while at is not None:
            if at.is_open:
                yield at
            at = at.parent

    def inside(self, other: Scope) -> bool:
        """Whether this is `other` or below it."""
        at: Scope | None = self
        while at is not None and at is not other:
            at = at.parent
        return at is other

    def charge(self, cost: Cost) -> None:
        """Write into the logical book of the nearest open scope and all above."""
        if not self.is_open:
            self.late += 1
        for scope in self.chain():
            scope.logical.add(cost)

    def charge_actual(self, cost: Cost) -> None:
        """Write into the actual book of the nearest open scope and all above."""
        for scope in self.chain():
            scope.actual.add(cost)

    def charge_written(self, written: int, positions: int, flops: float, discarded: int) -> None:
        """`charge` of what writing costs: the most frequent charge, so without a Cost."""
        if not self.is_open:
            self.late += 1
        for scope in self.chain():
            book = scope.logical
            book.written += written
            book.positions += positions
            book.flops += flops
            book.discarded += discarded

    def charge_actual_written(self, written: int, discarded: int) -> None:
        """The same for the actual book, where positions are charged with passes."""
        for scope in self.chain():
            scope.actual.written += written
            scope.actual.discarded += discarded

    def capped(self) -> bool:
        """Whether writing here must reserve."""
        return any(scope.caps and not scope.caps.keys().isdisjoint(RESERVED) for scope in self.chain())

    def spent(self, resource: str) -> float:
        """What the book that a cap on it binds on says."""
        book = self.actual if resource in METERED else self.logical
        return float(getattr(book, resource))

    def room(self, resource: str) -> float:
        """What is left of a resource here: the least over all caps above, reservations taken off."""
        left = float("inf")
        for scope in self.chain():
            cap = scope.caps.get(resource)
            if cap is not None:
                left = min(left, cap - scope.spent(resource) - scope.out[resource])
        return left

    def spent_out(self) -> tuple[Scope, str] | None:
        """The outermost scope above here whose cap on an actual resource is reached, and which."""
        found = None
        for scope in self.chain():
            for resource in METERED[:2]:
                cap = scope.caps.get(resource)
                if cap is not None and getattr(scope.actual, resource) >= cap:
                    found = (scope, resource)
        return found

    def reserve(self, amounts: dict[str, float], sign: int = 1) -> None:
        """Take amounts out (or put them back with sign -1) here and above."""
        for scope in self.chain():
            for resource, amount in amounts.items():
                scope.out[resource] += sign * amount

    def books(self) -> dict[str, Cost]:
        """The logical book of every name below here; blocks of one name add up."""
        found: dict[str, Cost] = {}
        for child in self.children:
            for name, cost in ((child.name, child.logical), *child.books().items()):
                found.setdefault(name, Cost()).add(cost)
        return found


def open_scope(parent: Scope, name: str, budget: Budget, now: float, keep: Budget | None = None) -> Scope:
    """A scope below `parent`; `keep` is set aside for after it: the cap is at most what is left less
    `keep`."""
    caps = budget.caps()
    for resource, amount in (keep.caps() if keep else {}).items():
        if resource in RESERVED:
            left = parent.room(resource) - amount
            caps[resource] = max(0.0, min(caps.get(resource, left), left))
    caps = {resource: cap for resource, cap in caps.items() if cap != float("inf")}
    scope = Scope(f"{parent.name}/{name}", parent, caps)
    scope.keeps_back = keep is not None
    if "seconds" in caps:
        scope.deadline = now + caps["seconds"]
    return scope


@dataclass(slots=True, eq=False)
class Request:
    """A wish to write: `demand(n)` is what writing n tokens takes of each reserved resource, growing with
    n."""

    scope: Scope
    order: tuple[Any, ...]  # (requests its task has made before, branch path)
    tokens: int
    demand: Callable[[int], dict[str, float]]
    task: Any = None
    granted: int = 0
    held: dict[str, float] = field(default_factory=dict)

    def fits(self, tokens: int) -> bool:
        """Whether writing `tokens` fits everywhere above now."""
        return all(amount <= self.scope.room(resource) for resource, amount in self.demand(tokens).items())

    def largest(self) -> int:
        """The most tokens that fit now."""
        if self.fits(self.tokens):
            return self.tokens
        low, high = 0, self.tokens
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.fits(middle) else (low, middle)
        return low

    def take(self, tokens: int) -> None:
        """Reserve for `tokens`."""
        self.granted, self.held = tokens, self.demand(tokens)
        self.scope.reserve(self.held)

    def use(self, resource: str, amount: float) -> None:
        """So much of what is reserved has been charged while the rest still is to come."""
        amount = min(amount, self.held.get(resource, 0.0))
        if amount:
            self.scope.reserve({resource: amount}, -1)
            self.held[resource] -= amount

    def give_back(self) -> None:
        """Return the reservation; what was used is charged separately."""
        self.scope.reserve(self.held, -1)
        self.held = {}

    def blocker(self) -> tuple[Scope, str]:
        """The outermost scope whose cap is in the way of one token, and which cap."""
        found = (self.scope, "written")
        for scope in self.scope.chain():
            for resource, amount in self.demand(1).items():
                cap = scope.caps.get(resource)
                if cap is not None and cap - scope.spent(resource) - scope.out[resource] < amount:
                    found = (scope, resource)
        return found

    def is_contended(self) -> bool:
        """Whether someone else holds a reservation under a cap that is in the way."""
        return any(scope.out[r] > 0 for scope in self.scope.chain() for r in RESERVED if r in scope.caps)


def grants(
    line: Sequence[Request], may_still_ask: Callable[[Request], bool]
) -> tuple[list[Request], list[Request]]:
    """Who may write now, and who never will: (granted, starved). Called when every task waits.

    `may_still_ask(request)` says whether a task that comes before this one in the order could yet make a
    request under the same caps; then it waits.
    """
    granted: list[Request] = []
    starved: list[Request] = []
    stopped: list[Scope] = []  # capped scopes in which an earlier request waits: nobody passes it
    for request in sorted(line, key=lambda r: r.order):
        capped = [s for s in request.scope.chain() if s.caps]
        if any(s in stopped for s in capped):
            continue
        fits = request.fits(request.tokens)
        if may_still_ask(request) or (not fits and request.is_contended()):
            stopped.extend(capped)
        elif (tokens := request.largest()) > 0:
            request.take(tokens)
            granted.append(request)
        else:
            starved.append(request)
            stopped.extend(capped)
    return granted, starved


class Distinct:
    """A run's distinct tokens: a trie that branches point into, so that each token is counted once."""

    def __init__(self) -> None:
        self.root: dict[int, Any] = {}

    @staticmethod
    def walk(at: dict[int, Any], tokens: Sequence[int]) -> tuple[dict[int, Any], int]:
        """Follow `tokens` from `at`, adding what is new: (where that leads, how many were new).

        What is new comes last: once a token is new, all after it are.
        """
        fresh = 0
        for token in tokens:
            below = at.get(token)
            if below is None:
                below = at[token] = {}
                fresh += 1
            at = below
        return at, fresh
