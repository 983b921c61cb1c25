"""How often guesses come true: what `Draft.conf` is estimated from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from outthink.core.draft import Draft
from outthink.core.drafting import Outcome

BINS = 8  # of a guess's own word on how likely it is


class Guess(NamedTuple):
    """A draft, and the kind of guess that each of its nodes is."""

    draft: Draft
    kinds: Sequence[int]


class Rates:
    """A Beta count per kind of guess: how often it came true once all above it had.

        mean = (hits + weight * prior) / (tries + weight)

    A node is tried when its parent was written; nodes below a wrong one say nothing.
    """

    def __init__(self, prior: Sequence[float], weight: float = 4.0) -> None:
        self.hits = [p * weight for p in prior]
        self.tries = [weight] * len(prior)
        self.mean = list(prior)

    def hear(self, kind: int, came_true: bool) -> None:
        """One more guess of a kind was tried."""
        self.hits[kind] += came_true
        self.tries[kind] += 1.0
        self.mean[kind] = self.hits[kind] / self.tries[kind]

    def settle(self, outcome: Outcome, guess: Guess | None) -> None:
        """Hear what became of a guess; one that was not checked says nothing."""
        checked = outcome.draft
        if guess is None or checked is None:
            return
        kinds = guess.kinds if checked is guess.draft else _kinds(checked, guess)
        drawn, tokens = outcome.drawn, checked.tokens
        written = {-1, *outcome.path}
        for node, parent in enumerate(checked.parents):
            if parent in written and parent in drawn and kinds[node] >= 0:
                self.hear(kinds[node], drawn[parent] == tokens[node])


def _kinds(checked: Draft, guess: Guess) -> list[int]:
    """The kinds of the nodes that are left of a guess; -1 for what is not of it."""
    place = {(p, t): i for i, (t, p) in enumerate(zip(guess.draft.tokens, guess.draft.parents, strict=True))}
    where: dict[int, int] = {-1: -1}
    kinds = []
    for node, (token, parent) in enumerate(zip(checked.tokens, checked.parents, strict=True)):
        where[node] = place.get((where[parent], token), -2)
        kinds.append(guess.kinds[where[node]] if where[node] >= 0 else -1)
    return kinds


def bins(groups: int = 1) -> list[float]:
    """The prior of guesses that say how likely they are: the middle of each bin, for each group."""
    return [(i + 0.5) / BINS for _ in range(groups) for i in range(BINS)]


def bin_of(p: float) -> int:
    """The bin of a probability."""
    return min(int(p * BINS), BINS - 1)


def written_draft(outcome: Outcome, mine: Mapping[int, int]) -> tuple[int, ...]:
    """The path of an outcome in the numbers of another draft; `mine` gives them."""
    path = []
    for node in outcome.path:
        if node not in mine:
            break
        path.append(mine[node])
    return tuple(path)
