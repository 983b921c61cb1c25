"""What a pass's results do: tokens to who writes, distributions to who reads, cache to the tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from outthink.core.jobs import Drawn, PassResult
from outthink.core.tree import Node
from outthink.engine.flight import Flight, Work
from outthink.engine.steady import Steady
from outthink.engine.stretch import Stretch
from outthink.engine.walk import walk

if TYPE_CHECKING:
    from outthink.engine.place import Place


def landed(place: Place, flight: Flight, result: PassResult) -> list[Work]:
    """Take a pass's results; the work that has ended by them."""
    if flight.steady is not None:
        flight.steady.ran(flight.job.steps, result.seconds)
        place.paces[len(flight.job.batch)] = flight.steady.pace
    if result.before:
        return _several(place, flight, [*result.before, result.drawn])
    _mark(place, flight)
    reads = [entry[:2] for entry in flight.plan.reads] + [entry[:2] for entry in flight.plan.heard]
    ended: list[Work] = []
    drafting: dict[Stretch, tuple[dict[int, Drawn], dict[int, Any]]] = {}
    gone, hears = place.admission.gone, not flight.is_silent
    for (stretch, at), drawn in zip(flight.writers, result.drawn, strict=True):
        if stretch not in place.works:
            continue
        speculator = stretch.speculator if hears else None
        if speculator is not None and (stretch.growth is not None or not speculator.is_asleep):
            drafting.setdefault(stretch, ({}, {}))[0][at] = drawn
            continue
        is_over = stretch.push(drawn) or stretch.is_starved()
        cursor = stretch.branch.cursor  # most are where nobody was before: `walk` would only find that out
        goes_on = not is_over and cursor.offset > 0 and cursor.node.rows[cursor.offset - 1] > gone
        more = walk(stretch) if goes_on else []
        flight.wrote.append((stretch, [drawn.token, *more]))
        if is_over or (more and (stretch.reason or stretch.is_starved())):
            ended.append(stretch)
    for i, dist in zip(flight.tops, result.dists[len(reads) :], strict=True):
        stretch, at = flight.writers[i]
        if stretch in drafting:
            drafting[stretch][1][at] = dist.top
    for stretch, (heard, tops) in drafting.items():
        brought = flight.plan.rows.get(stretch, 0)  # before the first token its prompt is among them
        is_over, tokens = stretch.take(heard, tops, brought if stretch.growth else min(brought, 1))
        flight.wrote.append((stretch, tokens))
        if is_over:
            ended.append(stretch)
    for (reading, i), dist in zip(reads, result.dists, strict=False):
        if reading in place.works:
            reading.dists[i] = dist
            reading.left.pop(i, None)
            if not reading.left and reading not in ended:
                ended.append(reading)
    return ended


def _several(place: Place, flight: Flight, steps: Sequence[list[Drawn]]) -> list[Work]:
    """Take the results of several steps."""
    steady = flight.steady
    assert steady is not None
    flight.cost = place.backend.price(flight.job)
    ended: list[Work] = []
    more, last = 0, -1
    place.admission.rows += len(steady.nodes) * (len(steps) - 1)
    place.admission.beat += len(steps) - 1
    for stretch, row, column in zip(steady.rows, steady.places, zip(*steps, strict=True), strict=True):
        node = steady.nodes[row]
        length = len(node.tokens)
        taken = stretch.push_all(column)
        if row != last:  # the first of those that share it; others go the same way, and may part at the end
            more += _fill(node, length, len(steps), flight.job.keep + row if flight.job.keep else 0, steady)
            last = row
        flight.wrote.append((stretch, [drawn[0] for drawn in column[:taken]]))
        if stretch.reason or stretch.is_starved():
            ended.append(stretch)
    place.tree.filled += more
    place.tree.peak = max(place.tree.peak, place.tree.filled)
    return ended


def _fill(node: Node, length: int, steps: int, keep: int, steady: Steady) -> int:
    """A leaf had `length` tokens before so many steps: what has cache now, and where logits are kept, one row
    of each step `keep`, the others that many later; by how many tokens there is more cache."""
    until, rows = min(length - 1 + steps, len(node.tokens)), len(steady.nodes)
    more = until - node.computed
    node.computed = until
    if keep:
        node.rows[length - 1 : until] = range(keep, keep + rows * (until - length + 1), rows)
    return more


def _mark(place: Place, flight: Flight) -> None:
    """What has cache now, and where the logits of each row are kept."""
    keep = flight.job.keep
    if flight.steady is not None:
        for row, node in enumerate(flight.steady.nodes):
            node.computed += 1
            if keep:
                node.rows[-1] = keep + row
        place.tree.filled += len(flight.steady.nodes)
        place.tree.peak = max(place.tree.peak, place.tree.filled)
        return
    for node, ranges in flight.plan.ranges.items():
        place.tree.mark(node, max(high for _, high in ranges))
    if keep:
        for (node, upto), row in flight.where.items():
            node.rows[upto - 1] = keep + row
