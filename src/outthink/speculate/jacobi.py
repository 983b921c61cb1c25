"""Jacobi: guess a window of tokens at once, and let each pass correct all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Studio, Tip
from outthink.spec import show
from outthink.speculate._rates import Guess, Rates

OLDEST = 3  # passes of age that are told apart
DEEPEST = 8  # places of the window that are told apart


@dataclass(frozen=True)
class Jacobi:
    """Keep a window of guesses; what the model draws at each of them is the next guess for the place after.

        y[i] = token drawn after guess i - 1      (one pass for all i: Jacobi iteration)
        the accepted prefix is written, the rest of y moves to the front of the window; new places, and those
        where it has been right more often, take what last followed the token before

    FastCoT's window varies in size with the position; here it is cut to the room, and `auto` cuts it to what
    pays. A place's noise stays the same from pass to pass, so sampled text converges as greedy text does.
    Zhang et al., "Fast Chain-of-Thought: A Glance of Future from Parallel Decoding Leads to Answers Faster".
    """

    window: int = 5

    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window={self.window}: give at least 1")

    def open(self, studio: Studio) -> JacobiSource:
        return JacobiSource(self)


class JacobiSource:
    """The windows of all tips, and which token last followed which."""

    name = "jacobi"
    tops = 0

    def __init__(self, config: Jacobi) -> None:
        self.window = config.window
        self.rates = Rates(
            [0.3 + 0.15 * age for age in range(OLDEST) for same in range(2) for _ in range(DEEPEST)]
        )
        self.follower: dict[int, int] = {}

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        mine = self._mine(tip)
        tokens, conf, kinds = [], [], []
        last, follower, mean = tip.tokens[-1], self.follower, self.rates.mean
        for i in range(min(self.window, depth, nodes)):
            place = min(i, DEEPEST - 1)
            kind, after = place, follower.get(last)
            if i < len(mine.guesses):
                token, age, is_same = mine.guesses[i]
                kept = (min(age, OLDEST - 1) * 2 + is_same) * DEEPEST + place
                if after is None or mean[kept] >= mean[kind]:
                    kind, after = kept, token
            last = last if after is None else after
            tokens.append(last)
            conf.append(mean[kind])
            kinds.append(kind)
        if not tokens:
            return None
        mine.guess = Guess(Draft.chain(tokens, conf, self.name), kinds)
        return mine.guess.draft

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        mine = self._mine(tip)
        self.rates.settle(outcome, mine.guess)
        self._read(tip.tokens, len(tip.tokens) - len(outcome.tokens))
        draft, m = outcome.draft, len(outcome.tokens) - 1
        old, mine.guess = mine.guesses, None
        mine.guesses = []
        if draft is None or draft.by != self.name:
            return
        for node in range(m, len(draft.tokens)):  # node i of a chain guesses what is drawn after node i - 1
            token = outcome.drawn.get(node)
            if token is None:
                break
            age = old[node + 1][1] if node + 1 < len(old) else 0
            is_same = node + 1 < len(draft.tokens) and draft.tokens[node + 1] == token
            mine.guesses.append((token, age + 1, is_same))

    def end(self, tip: Tip) -> None:
        pass

    def _mine(self, tip: Tip) -> _Mine:
        if self not in tip.local:
            tip.local[self] = _Mine()
            self._read(tip.tokens, 1)
        mine: _Mine = tip.local[self]
        return mine

    def _read(self, tokens: Sequence[int], since: int) -> None:
        follower = self.follower
        for i in range(max(since, 1), len(tokens)):
            follower[tokens[i - 1]] = tokens[i]


class _Mine:
    """The window of a tip: (token, in how many passes it was corrected, whether the last left it as it
    was)."""

    __slots__ = ("guesses", "guess")

    def __init__(self) -> None:
        self.guesses: list[tuple[int, int, bool]] = []
        self.guess: Guess | None = None
