"""Which waiting work goes into the next pass: pure functions on plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

PATIENCE = 16  # passes, of which one is for everybody: what can wait is slowed down, never starved


class Waiting(NamedTuple):
    """One piece of work that wants rows."""

    run: int  # the request's number, in order of arrival
    progress: int  # tokens written so far: contestants of a race advance together
    path: tuple[int, ...]  # the branch
    share: str = ""  # requests of one share take turns as one


def urgent(priorities: Sequence[int], passes: int) -> list[int]:
    """Indices of the work that may be in pass number `passes`: that of the lowest priority, now and then all.

    What is left out is pre-empted: its cache stays until somebody needs the room, and is then computed again.
    """
    first = min(priorities, default=0)
    return [i for i, p in enumerate(priorities) if p == first or passes % PATIENCE == 0]


def fair(waiting: Sequence[Waiting], served: Mapping[str, int]) -> list[int]:
    """Indices in the order in which they get a place: shares take turns, the least served first.

    Within a share the work that has written least goes first, ties by arrival and path.
    """
    inside: dict[str, list[int]] = {}
    for i in sorted(range(len(waiting)), key=lambda i: (waiting[i].progress, waiting[i])):
        inside.setdefault(share(waiting[i]), []).append(i)
    arrived = {one: min(waiting[m].run for m in members) for one, members in inside.items()}
    turns = [
        (served.get(one, 0) + turn, arrived[one], i)
        for one, members in inside.items()
        for turn, i in enumerate(members)
    ]
    return [i for _, _, i in sorted(turns)]


def share(waiting: Waiting) -> str:
    """Who takes turns: the share, or a request that has none."""
    return waiting.share or str(waiting.run)


def first_come(waiting: Sequence[Waiting]) -> list[int]:
    """Indices in order of arrival, then path: when cache is short, the first always makes progress."""
    return sorted(range(len(waiting)), key=lambda i: (waiting[i].run, waiting[i].path))


def chunk(rows: int, room: int) -> int:
    """How many of `rows` a piece of work gets when `room` rows are left in the pass."""
    return min(rows, max(0, room))
