"""Writing where others have written: from logits that the backend has kept, without a pass.

A branch whose next row is kept draws its token at once, and goes on as long as what it draws was written
before and is kept too. A draw is a function of the branch, the position and the row, so what it writes is
what passes would have had it write; it only is the sooner where nobody knows the row yet, and joins a pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outthink.core.jobs import Draw, Drawn

if TYPE_CHECKING:
    from outthink.engine.place import Again, Place
    from outthink.engine.stretch import Stretch
    from outthink.engine.trace import Trace

MOST = 64  # tokens at a time: whoever else waits is not kept waiting for long


def wrote_at_once(stretch: Stretch, trace: Trace) -> bool:
    """Write what needs no pass; whether that was all."""
    tokens = walk(stretch)
    if tokens and not stretch.task.scope.is_draft:
        trace.wrote(stretch.branch, tokens)
    return bool(tokens) and (bool(stretch.reason) or stretch.is_starved())


def walk(stretch: Stretch) -> list[int]:
    """The tokens that a stretch has written from kept rows; it may have ended by them.

    Contestants of a race go on together, pass by pass; so does what is drafted for, unless its drafter
    sleeps, and who drafts.
    """
    place: Place = stretch.branch.place  # type: ignore[assignment]
    tokens: list[int] = []
    task, again = stretch.task, getattr(place, "again", None)  # an endpoint keeps no rows
    speculator = stretch.speculator
    if again is None or task.contestant or task.scope.is_draft or (speculator and not speculator.is_asleep):
        return tokens
    if not _is_known(stretch, place):
        return tokens
    ends = None if stretch.warps else place.ends.of((stretch,))
    while len(tokens) < MOST and (column := _drawn(stretch, place, again, ends, MOST - len(tokens))):
        taken = stretch.push_all(column)
        tokens += [drawn.token for drawn in column[:taken]]
        if stretch.reason or stretch.is_starved():
            break
    return tokens


def _is_known(stretch: Stretch, place: Place) -> bool:
    """Whether the row at its tip is kept."""
    cursor = stretch.branch.cursor
    return cursor.offset > 0 and place.admission.is_kept(cursor.node.rows[cursor.offset - 1])


def _drawn(stretch: Stretch, place: Place, again: Again, ends: bytes | None, most: int) -> list[Drawn]:
    """What is drawn from one kept row after the other, as far as that goes where others have gone; only the
    last of these tokens may end the text. Without `ends` each token may, so it is one token."""
    node, offset, position = stretch.branch.cursor.node, stretch.branch.cursor.offset, stretch.position
    most = min(most, min(stretch.allowed, stretch.cap) - stretch.count) if ends is not None else 1
    column: list[Drawn] = []
    while len(column) < most and offset:
        numbers = _kept(node.rows[offset - 1 : offset - 1 + most - len(column)], place.admission.gone)
        if not numbers:
            break
        told = node.tokens[offset : offset + len(numbers)]
        told += [-1] * (len(numbers) - len(told))  # what follows the last token of a node, its children know
        draw = Draw(0, stretch.key, position + len(column), stretch.sampling, stretch.states)
        try:
            column += (drawn := again(place.number, numbers, draw, told, ends or b"\1" * place.vocab))
        except (
            Exception
        ):  # of a warp, say: the pass that is needed now raises it again, for who waits for that
            break
        if len(drawn) < len(numbers) or (ends is not None and ends[drawn[-1].token]):
            break
        if drawn[-1].token == told[-1]:
            offset += len(drawn)
        elif told[-1] < 0 and (child := node.children.get(drawn[-1].token)) is not None:
            node, offset = child, 1
        else:
            break
    return column


def _kept(numbers: list[int], gone: int) -> list[int]:
    """The first of these rows of logits, as far as all are kept."""
    return next((numbers[:i] for i, number in enumerate(numbers) if number <= gone), numbers)
