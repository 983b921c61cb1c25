"""Which waiting work goes into the next pass: pure functions on plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Waiting(NamedTuple):
    """One piece of work that wants rows."""

    run: int  # the request's number, in order of arrival
    progress: int  # tokens written so far: contestants of a race advance together
    path: tuple[int, ...]  # the branch


def fair(waiting: Sequence[Waiting], served: Mapping[int, int]) -> list[int]:
    """Indices in the order in which they get a place: requests take turns, the least served first.

    Within a request the work that has written least goes first, ties by path.
    """
    inside: dict[int, list[int]] = {}
    for i in sorted(range(len(waiting)), key=lambda i: waiting[i]):
        inside.setdefault(waiting[i].run, []).append(i)
    turns = [
        (served.get(run, 0) + turn, run, i)
        for run, members in inside.items()
        for turn, i in enumerate(members)
    ]
    return [i for _, _, i in sorted(turns)]


def first_come(waiting: Sequence[Waiting]) -> list[int]:
    """Indices in order of arrival, then path: when cache is short, the first always makes progress."""
    return sorted(range(len(waiting)), key=lambda i: (waiting[i].run, waiting[i].path))


def chunk(rows: int, room: int) -> int:
    """How many of `rows` a piece of work gets when `room` rows are left in the pass."""
    return min(rows, max(0, room))
