"""Central rankings: the one order that is closest to many."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

MOST_EXACT = 12  # items; the exact search takes 2^k k^2 steps


def margins(rankings: Sequence[Sequence[int]], k: int) -> list[list[int]]:
    """[k, k]: in how many rankings i stands before j.

    An item that a ranking leaves out stands behind all that it names, and is tied with others left out.
    """
    before = [[0] * k for _ in range(k)]
    for ranking in rankings:
        place = {item: at for at, item in enumerate(ranking)}
        for i, j in itertools.permutations(range(k), 2):
            before[i][j] += place.get(i, k) < place.get(j, k)
    return before


def borda(rankings: Sequence[Sequence[int]], names: Sequence[str]) -> list[int]:
    """Items by how many others they stand before, over all rankings; ties by name."""
    before = margins(rankings, len(names))
    return sorted(range(len(names)), key=lambda i: (sum(row[i] for row in before) - sum(before[i]), names[i]))


def kemeny(rankings: Sequence[Sequence[int]], names: Sequence[str]) -> list[int]:
    """The ranking with the least sum of Kendall tau distances to all; ties by name, first item first.

    Exact up to 12 items, by a program over subsets: cost(S) = min over i in S placed first of
    cost(S - i) + sum over j in S of |rankings with j before i|. Beyond, Borda's order improved by swaps of
    neighbours until none helps.
    """
    before = margins(rankings, len(names))
    return _exact(before, names) if len(names) <= MOST_EXACT else _swapped(before, borda(rankings, names))


def _exact(before: list[list[int]], names: Sequence[str]) -> list[int]:
    k = len(names)
    best: list[tuple[int, tuple[str, ...], tuple[int, ...]]] = [(0, (), ())]
    for chosen in range(1, 1 << k):
        inside = [i for i in range(k) if chosen >> i & 1]
        options = []
        for i in inside:
            cost, told, order = best[chosen ^ (1 << i)]
            cost += sum(before[j][i] for j in inside)
            options.append((cost, (names[i], *told), (i, *order)))
        best.append(min(options))
    return list(best[-1][2])


def _swapped(before: list[list[int]], order: list[int]) -> list[int]:
    is_better = True
    while is_better:
        is_better = False
        for at in range(len(order) - 1):
            i, j = order[at], order[at + 1]
            if before[j][i] > before[i][j]:
                order[at], order[at + 1] = j, i
                is_better = True
    return order
