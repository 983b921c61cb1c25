"""Drafts that a cheaper variant of the model itself writes: layers left out, an early exit, rounded weights.

A variant reads the model's own cache and writes to scratch slots only: the tip's last token is computed again
in scratch, and each drafted token after it. All branches are drafted for at once, one token a pass, back to
back, so nothing moves in between; when it is over the scratch is free again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from outthink.core.batch import Batch, Segment
from outthink.core.draft import Draft
from outthink.core.errors import OutthinkError
from outthink.core.jobs import Draw, Drawn, Inbox, PassJob, PassResult, Variant
from outthink.core.receipt import Cost
from outthink.core.tree import Cursor
from outthink.engine.stretch import Stretch

if TYPE_CHECKING:
    from outthink.engine.place import Place


class Sketch:
    """One branch's draft in the making."""

    __slots__ = ("stretch", "start", "size", "tokens", "conf", "states", "is_over")

    def __init__(self, stretch: Stretch, start: int, size: int) -> None:
        self.stretch, self.start, self.size = stretch, start, size
        self.tokens: list[int] = []
        self.conf: list[float] = []
        self.states = stretch.states
        self.is_over = False

    def take(self, drawn: Drawn, least: float) -> None:
        """Take a drafted token; it is over at an end of text, at its size, and when the variant is unsure."""
        conf, tip = math.exp(drawn.logprob), self.stretch.tip
        if drawn.token in tip.ends or conf < least:
            self.is_over = True
            return
        self.tokens.append(drawn.token)
        self.conf.append(min(conf, 0.999))
        if self.states:
            self.states = self.stretch.following(self.states, drawn.token)
        self.is_over = len(self.tokens) >= self.size


def sketch(
    place: Place, stretches: Sequence[Stretch], count: int, variant: Variant, least: float, name: str
) -> dict[Stretch, Draft]:
    """A chain of at most `count` tokens for each stretch, as the variant writes it with the stretch's noise.

    `least` ends a draft before a token that the variant holds less likely. Raises what the backend raises.
    """
    sketches = [made for stretch in stretches if (made := _begin(place, stretch, count)) is not None]
    try:
        for step in range(count):
            alive = [one for one in sketches if not one.is_over]
            if not alive:
                break
            for one, drawn in zip(alive, _pass(place, alive, step, variant), strict=True):
                one.take(drawn, least)
    finally:
        for one in sketches:
            place.tree.slots.free(one.start, one.size + 1)
    return {one.stretch: Draft.chain(one.tokens, one.conf, name) for one in sketches if one.tokens}


def _begin(place: Place, stretch: Stretch, count: int) -> Sketch | None:
    """Scratch for one branch; None where nothing may be drafted, or no slots are free."""
    size = min(count, stretch.depth)
    if size < 1:
        return None
    start = place.tree.slots.alloc(size + 1)
    return Sketch(stretch, start, size) if start >= 0 else None


def _pass(place: Place, sketches: Sequence[Sketch], step: int, variant: Variant) -> list[Drawn]:
    """The next token of each, by one pass of the variant."""
    batch, draws = Batch(), []
    for row, one in enumerate(sketches):
        stretch = one.stretch
        _add(batch, one, stretch.branch.cursor, step)
        position = stretch.position + step
        draws.append(Draw(row, stretch.key, position, stretch.sampling, one.states))
    job, inbox = PassJob(batch, draws, variant=variant), Inbox()
    place.backend.submit([job], inbox)
    place.backend.step()
    [(_, result)] = inbox.take()
    if isinstance(result, BaseException):
        raise result if isinstance(result, OutthinkError) else RuntimeError(str(result)) from result
    _charge(place, sketches, job, result)
    drawn: list[Drawn] = result.drawn
    return drawn


def _add(batch: Batch, one: Sketch, cursor: Cursor, step: int) -> None:
    """The row of the last token so far: below everything before the tip's last token, then scratch."""
    chain: list[tuple[int, int]] = []
    node, length = cursor.node, cursor.offset - 1
    last = node.tokens[length]
    while True:
        if length:
            chain.append((node.start, length))
        if node.parent is None:
            break
        node = node.parent
        length = len(node.tokens)
    parent = -1
    for start, size in reversed(chain):
        batch.segments.append(Segment(parent, start, size))
        parent = len(batch.segments) - 1
    batch.segments.append(Segment(parent, one.start, step + 1))
    batch.tokens.append(one.tokens[-1] if step else last)
    batch.positions.append(cursor.length - 1 + step)
    batch.slots.append(one.start + step)
    batch.segment.append(len(batch.segments) - 1)
    batch.visible.append(step + 1)
    batch.wanted.append(len(batch.tokens) - 1)


def _charge(place: Place, sketches: Sequence[Sketch], job: PassJob, result: PassResult) -> None:
    """The actual book, split evenly, and the tally of the drafter."""
    cost, share = place.backend.price(job), 1 / len(sketches)
    for one in sketches:
        stretch = one.stretch
        assert stretch.speculator is not None
        spent = Cost(
            positions=1,
            passes=1,
            flops=cost.flops * share,
            bytes=cost.bytes * share,
            seconds=result.seconds * share,
        )
        stretch.task.scope.charge_actual(spent)
        tally = stretch.speculator.tally(None)
        tally.seconds += spent.seconds
        tally.bytes += spent.bytes
        tally.state_bytes = max(tally.state_bytes, result.state_bytes)
