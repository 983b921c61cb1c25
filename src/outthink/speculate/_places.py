"""Where words have occurred: the last places of every m tokens, in texts that grow.

O(1) a token: one entry per token, however long the match that is looked for. What followed a context is
gathered when it is asked for, as a tree of votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from outthink.speculate._noise import Noise, informed
from outthink.speculate._rates import BINS, Rates, bin_of
from outthink.speculate._trees import Child

KEPT = 16  # places of one m-gram
LONGEST = 8  # a match of so many tokens is as good as any longer one
WIDEST = 4  # children of a node
DOUBT = 0.5  # votes for what was not seen
ALONE = 1 / (1 + DOUBT)  # what one place says of its token
SURE = 4.0**5  # weight of a match that is long
BYTES = 130  # about what an entry takes, its token in the text included
MOST = 1 << 17  # entries; beyond them the half of the m-grams that were met first is forgotten


class Text:
    """A text that grows, and how far it has been read."""

    __slots__ = ("tokens", "upto", "group")

    def __init__(self, tokens: Sequence[int], upto: int = 0, group: int = 0) -> None:
        self.tokens = tokens
        self.upto = upto
        self.group = group


# texts that agree so far, (tokens, place, weight) each, and the position that is guessed next
Place = tuple[Sequence[int], int, float]
Votes = tuple[list[Place], int]


class Places:
    """The last places of every `m` tokens."""

    def __init__(self, m: int) -> None:
        self.m = m
        self.where: dict[tuple[int, ...], list[tuple[Text, int]]] = {}
        self.count = 0

    def read(self, text: Text) -> None:
        """Take in what a text has grown by."""
        tokens, m, where = text.tokens, self.m, self.where
        for end in range(max(text.upto + 1, m), len(tokens) + 1):
            key = tuple(tokens[end - m : end])
            found = where.get(key)
            if found is None:
                where[key] = [(text, end)]
                self.count += 1
            elif len(found) < KEPT:
                found.append((text, end))
                self.count += 1
            else:
                del found[0]
                found.append((text, end))
        text.upto = len(tokens)
        if self.count > MOST:
            self._forget()

    def _forget(self) -> None:
        where = self.where
        for key in list(islice(where, len(where) // 2)):
            self.count -= len(where.pop(key))

    def after(self, tokens: Sequence[int], skip: Text | None = None, group: int = -1) -> Votes | None:
        """What has followed the last tokens: each place weighs 4 to the power of its match's length.

        Places in `skip` do not count, nor, where a group is given, those of other groups.
        """
        n = len(tokens)
        found = self.where.get(tuple(tokens[n - self.m :])) if n >= self.m else None
        if found is None:
            return None
        places = []
        for text, end in found:
            other = text.tokens
            if end >= len(other) or text is skip or (group >= 0 and text.group != group):
                continue
            length, most = self.m, min(end, n, LONGEST)
            while length < most and other[end - length - 1] == tokens[n - length - 1]:
                length += 1
            places.append((other, end, float(4**length)))
        return (places, n) if places else None

    @property
    def state_bytes(self) -> float:
        """About what is remembered."""
        return float(self.count * BYTES)


class Ballot:
    """Grows a tree of votes; its kinds of guess: how long the best match is, how likely it says it is."""

    __slots__ = ("rates", "noise")

    def __init__(self, rates: Rates, noise: Noise | None) -> None:
        self.rates = rates
        self.noise = noise

    def __call__(self, state: Votes) -> list[Child]:
        places, position = state
        mean = self.rates.mean
        if len(places) == 1:
            tokens, place, weight = places[0]
            if place >= len(tokens):
                return []
            [(token, p)] = informed([(tokens[place], ALONE)], self.noise, position)
            kind = (BINS if weight >= SURE else 0) + bin_of(p)
            return [(token, mean[kind], kind, ([(tokens, place + 1, weight)], position + 1))]
        groups: dict[int, list[Place]] = {}
        weights: dict[int, float] = {}
        best = 0.0
        for tokens, place, weight in places:
            if place < len(tokens):
                token = tokens[place]
                groups.setdefault(token, []).append((tokens, place + 1, weight))
                weights[token] = weights.get(token, 0.0) + weight
                best = weight if weight > best else best
        if not groups:
            return []
        total = sum(weights.values()) + DOUBT * best
        likely = [(token, weight / total) for token, weight in weights.items()]
        if len(likely) > 1:
            likely.sort(key=_share, reverse=True)
        base, out = (BINS if best >= SURE else 0), []
        for token, p in informed(likely[:WIDEST], self.noise, position):
            kind = base + bin_of(p)
            out.append((token, mean[kind], kind, (groups[token], position + 1)))
        return out


def _share(entry: tuple[int, float]) -> float:
    return entry[1]
