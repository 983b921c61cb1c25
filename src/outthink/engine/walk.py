"""Writing where others have written: from logits that the backend has kept, without a pass.

A branch whose next row is kept draws its token at once, and goes on as long as what it draws was written
before and is kept too. A draw is a function of the branch, the position and the row, so what it writes is
what passes would have had it write; it only is the sooner where nobody knows the row yet, and joins a pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outthink.engine.place import Place
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
    cursor, is_kept = stretch.branch.cursor, place.admission.is_kept
    while len(tokens) < MOST and cursor.offset and is_kept(number := cursor.node.rows[cursor.offset - 1]):
        try:
            drawn = again(place.number, number, stretch.draw(0))
        except (
            Exception
        ):  # of a warp, say: the pass that is needed now raises it again, for who waits for that
            return tokens
        if drawn is None:
            return tokens
        tokens.append(drawn.token)
        if stretch.push(drawn) or stretch.is_starved():
            break
    return tokens
