"""How work is written into the two books: what to reserve before, what to charge after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from outthink.core.ledger import Scope
from outthink.core.receipt import Cost

if TYPE_CHECKING:
    from outthink.core.branch import Branch
    from outthink.core.work import Ask
    from outthink.engine.flight import Flight, Reading
    from outthink.engine.request import Run
    from outthink.engine.stretch import Stretch


def writing_demand(run: Run, branch: Branch, tokens: int) -> dict[str, float]:
    """What writing so many tokens takes at most: rows before them that are not counted yet, and one row
    each; dollars for all that an endpoint reads and writes."""
    rows = run.pending(branch, branch.cursor.length) + tokens - 1 if tokens else 0
    length = branch.cursor.length + tokens - 1
    flops = branch.place.prices.rows(length - rows, length) + tokens * branch.place.prices.flops_head
    dollars = branch.place.dollars(branch.cursor.length, tokens) if tokens else 0.0
    return {"written": tokens, "positions": rows, "flops": flops if tokens else 0.0, "dollars": dollars}


def reading_demand(work: Reading, count: int) -> dict[str, float]:
    """What the asks of a reading take at most; the first `count`, where each is about a branch of its own."""
    run, branch, asks = work.run, work.branch, work.work.asks
    if work.work.owners is not None:
        lengths = [ask.length for ask in asks[:count]]
        pending = [run.pending(one, n) for one, n in zip(work.work.owners, lengths, strict=False)]
        prices = branch.place.prices
        flops = sum(prices.rows(n - rows, n) for n, rows in zip(lengths, pending, strict=True))
        dollars = sum(branch.place.dollars(n, 1) for n in lengths)
        return {
            "positions": sum(pending),
            "flops": flops + len(lengths) * prices.flops_head,
            "dollars": dollars,
        }
    longest = max(ask.length for ask in asks)
    rows = run.pending(branch, min(branch.cursor.length, longest))
    rows += sum({id(a.cursor): a.cursor.length - branch.cursor.length for a in asks}.values())
    prices = branch.place.prices
    return {
        "positions": rows,
        "flops": prices.rows(longest - rows, longest) + _heads(asks) * prices.flops_head,
        "dollars": len(asks) * branch.place.dollars(longest, 1),
    }


def _heads(asks: Sequence[Ask]) -> int:
    """How many of the asks take logits."""
    return sum(not ask.want.hidden for ask in asks)


def settle_stretch(work: Stretch, limit: int | None, discarded: bool = False) -> None:
    """Charge what a stretch has written; `limit` cuts the logical book at so many tokens of its race."""
    if work.task.scope.is_draft:
        return
    if work.reservation is not None:
        work.reservation.give_back()
        work.reservation = None
    real = work.count - work.settled
    excess = 0
    if limit is not None and work.task.contestant is not None:
        excess = min(real, max(0, work.task.contestant.written - limit))
    new = real - excess
    place, scope = work.branch.place, work.task.scope
    fresh, flops = 0, 0.0
    if new:
        rows = work.begin + work.settled + new - 1  # the last token is not evaluated
        fresh = work.run.demand(work.branch, rows)
        heads = min(new, fresh)  # rows that somebody of this run drew from before are not paid for again
        if fresh:
            flops = place.prices.rows(rows - fresh, rows) + heads * place.prices.flops_head
    work.settled = work.count
    thrown = work.count if discarded else 0
    scope.charge_written(new, fresh, flops, max(0, thrown - excess))
    scope.charge_actual_written(real, thrown)


def settle_reading(work: Reading) -> None:
    """Charge what a reading has evaluated."""
    if work.task.scope.is_draft:
        return
    if work.reservation is not None:
        work.reservation.give_back()
    prices, positions, asks = work.branch.place.prices, 0, work.work.asks[: len(work.dists)]
    owners = work.work.owners or [work.branch] * len(asks)
    flops = _heads(asks) * prices.flops_head
    for ask, branch in zip(asks, owners, strict=False):
        fresh = work.run.demand(branch, ask.length, ask.cursor)
        positions += fresh
        flops += prices.rows(ask.length - fresh, ask.length)
    work.task.scope.charge(Cost(positions=positions, flops=flops))


def charge_pass(flight: Flight, seconds: float, cache_bytes: float) -> None:
    """The actual book: a pass's cost is split by the rows that each scope brought."""
    rows: dict[Scope, int] = {}
    for work, brought in flight.plan.rows.items():
        scope = work.task.scope
        rows[scope] = rows.get(scope, 0) + brought
    total, steps = len(flight.job.batch), flight.job.steps
    for scope, brought in rows.items():
        share = brought / total
        flops, moved = flight.cost.flops * share, flight.cost.bytes * share
        scope.charge_actual(
            Cost(
                positions=brought * steps,
                passes=steps,
                flops=flops,
                bytes=moved,
                seconds=seconds * share,
                cache_bytes=cache_bytes,
            )
        )
