"""Verbs for several branches of one place at once: one await, however many they are.

They do what `look` and `choose` of each branch would do side by side, and cost the same; what is spared is a
task for each.
"""

from __future__ import annotations

from collections.abc import Sequence

from outthink.core.branch import Branch, waited
from outthink.core.errors import Misuse
from outthink.core.types import Dist, Want
from outthink.core.work import Ask, Pick, PickWork, ReadWork


async def look(branches: Sequence[Branch], want: Want) -> list[Dist]:
    """The next-token distribution of each branch, reduced to `want`.

    Raises Misuse where a branch is closed, is named twice, or is of another place than the first.
    """
    dists: list[Dist] = []
    while len(dists) < len(branches):  # under a cap, as many as there is room for
        rest = branches[len(dists) :]
        _check(rest)
        asks = [Ask(branch.cursor, branch.cursor.length, want) for branch in rest]
        dists += await waited(rest, ReadWork(rest[0], asks, rest))
    for branch, dist in zip(branches, dists, strict=True):
        branch.dist = dist
    return dists


async def choose(picks: Sequence[Pick]) -> list[bool]:
    """Write the token of each `Branch.pick`; whether it was an end token, for the first of them that were
    written.

    Without caps these are all. Under a cap they may be fewer, at least one: call again for the rest, which
    ends the task if nothing is left. Raises as `look` does.
    """
    if not picks:
        return []
    branches = [pick.branch for pick in picks]
    _check(branches)
    ends: list[bool] = branches[0].run.write_now(picks) or await waited(branches, PickWork(picks))
    return ends


def _check(branches: Sequence[Branch]) -> None:
    if len(set(branches)) < len(branches) or len({branch.place for branch in branches}) > 1:
        raise Misuse(f"{len(branches)} branches at once: give each once, and all of one model")
