"""Copy: find the longest suffix earlier in the context, and guess what followed it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Studio, Tip
from outthink.spec import show
from outthink.speculate._known import Known
from outthink.speculate._rates import Guess, Rates
from outthink.speculate._trees import LEAST

LONGEST = 24  # a match of so many tokens is as good as any longer one
MOST_M = 64  # tokens that are looked up at once: each entry of the index has so many
TRIES = 16  # places that are looked at, the latest first
TEXTS = 256  # whose index is kept for texts that go on from them
TOKENS = 1 << 19  # in all of them; beyond that the oldest go
BYTES = 110  # about what a token takes in an index


@dataclass(frozen=True)
class Copy:
    """Guess what followed the longest suffix of the text where it occurred before.

        l = longest suffix of at least m tokens that ends earlier too (ties: the latest place)
        guess = the n tokens after that place; conf of token d = how often matches of length l + d - 1 went on

    Places of every m tokens are chained, one entry a token; the 16 latest are compared. CopySpec looks up a
    suffix of one length; here short ones are tried too, and believed as far as their record goes. Dumitru et
    al., "CopySpec: Accelerating LLMs with Speculative Copy-and-Paste Without Compromising Quality"; prompt
    lookup.
    """

    n: int = 10
    m: int = 2

    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.n < 1 or not 1 <= self.m <= MOST_M:
            raise ValueError(f"n={self.n}, m={self.m}: give n of at least 1, m of 1 to {MOST_M}")

    def open(self, studio: Studio) -> CopySource:
        return CopySource(self)


class Index:
    """The places of every m tokens of one text: `before[end]` is where the same m tokens ended earlier."""

    __slots__ = ("where", "before")

    def __init__(self, other: Index | None = None) -> None:
        self.where: dict[tuple[int, ...], int] = dict(other.where) if other else {}
        self.before: list[int] = list(other.before) if other else [0]

    def read(self, tokens: Sequence[int], m: int) -> None:
        """Take in what the text has grown by."""
        where, before = self.where, self.before
        for end in range(len(before), len(tokens) + 1):
            key = tuple(tokens[max(end - m, 0) : end])
            before.append(where.get(key, 0))
            where[key] = end

    def longest(self, tokens: Sequence[int], m: int) -> tuple[int, int]:
        """(place, length) of the longest match of the text's end, (0, 0) for none."""
        n, at, place, best = len(tokens), self.before[-1], 0, 0
        for _ in range(TRIES):
            if at < m:
                break
            length, most = m, min(at, LONGEST)
            while length < most and tokens[at - length - 1] == tokens[n - length - 1]:
                length += 1
            if length > best:
                place, best = at, length
                if length == LONGEST:
                    break
            at = self.before[at]
        return place, best


class CopySource:
    """The index of every text that is being written, and how far matches went on."""

    name = "copy"
    tops = 0

    def __init__(self, config: Copy) -> None:
        self.n, self.m = config.n, config.m
        self.rates = Rates([min(0.35 + 0.05 * i, 0.95) for i in range(LONGEST + 1)])
        self.known: Known[Index] = Known(TEXTS)

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        index, tokens = self._index(tip), tip.tokens
        place, length = index.longest(tokens, self.m)
        if not place:
            return None
        period, mean = len(tokens) - place, self.rates.mean
        guess: list[int] = []
        conf, kinds, p = [], [], 1.0
        for i in range(min(self.n, depth, nodes)):
            kind = min(length + i, LONGEST)
            p *= mean[kind]
            if p < LEAST and i:
                break
            guess.append(tokens[place + i] if i < period else guess[i - period])
            conf.append(mean[kind])
            kinds.append(kind)
        draft = Draft.chain(guess, conf, self.name)
        tip.local[self] = (index, Guess(draft, kinds))
        return draft

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        index, guess = tip.local.get(self) or (self._index(tip), None)
        if guess is not None:
            self.rates.settle(outcome, guess)
            tip.local[self] = (index, None)
        index.read(tip.tokens, self.m)

    def end(self, tip: Tip) -> None:
        if self in tip.local:
            self._keep(tip, tip.local[self][0])

    def _keep(self, tip: Tip, index: Index) -> None:
        """For texts that go on from this one."""
        self.known.mark(tip.tokens, index)
        marks = self.known.marks
        while len(marks) > 1 and self._tokens > TOKENS:
            del marks[next(iter(marks))]

    @property
    def _tokens(self) -> int:
        return sum(len(index.before) for index in self.known.marks.values())

    @property
    def state_bytes(self) -> float:
        return float(BYTES * self._tokens)

    def _index(self, tip: Tip) -> Index:
        """The index of a tip's text, which goes on from that of a text that it begins with."""
        if self in tip.local:
            index: Index = tip.local[self][0]
            return index
        length, known = self.known.longest(tip.tokens)
        index = Index(known if length else None)
        index.read(tip.tokens, self.m)
        if length < tip.prompt:
            self._keep(tip, Index(index))
        tip.local[self] = (index, None)
        return index
