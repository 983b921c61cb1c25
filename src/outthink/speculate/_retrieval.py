"""What trie, consensus and store share: look up what followed, let places vote, guess what is likeliest."""

from __future__ import annotations

from typing import Protocol

from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Studio, Tip
from outthink.speculate._known import Known
from outthink.speculate._noise import Noise, noise_of
from outthink.speculate._places import Ballot, Places, Text, Votes
from outthink.speculate._rates import Guess, Rates, bins
from outthink.speculate._trees import Shape, check_shape, grow

GROUPS = 4096  # prompts that are told apart


class Config(Protocol):
    """A drafter that retrieves: nodes, tokens that must match, depth and shape of its trees."""

    @property
    def n(self) -> int: ...

    @property
    def m(self) -> int: ...

    @property
    def depth(self) -> int: ...

    @property
    def shape(self) -> Shape: ...


def check(config: Config, longest: int = 64) -> None:
    """Raise ValueError for a configuration that cannot retrieve."""
    check_shape(config.shape, config.n)
    if not 1 <= config.m <= longest or config.depth < 1:
        raise ValueError(f"m={config.m}, depth={config.depth}: give m of 1 to {longest}, depth of at least 1")


class Library(Protocol):
    """Where a drafter looks things up."""

    @property
    def state_bytes(self) -> float: ...

    def open(self, tip: Tip) -> Text:
        """A tip's text, as far as it has been read."""
        ...

    def after(self, tip: Tip, text: Text, depth: int) -> Votes | None:
        """What has followed words like the last ones of a tip."""
        ...

    def read(self, text: Text) -> None:
        """Take in what a text has grown by."""
        ...

    def close(self, text: Text) -> None:
        """A text has ended here; another may go on from it."""
        ...


class Texts:
    """The library of all texts that are written here: with their prompts, or for each prompt apart."""

    def __init__(self, m: int, is_by_prompt: bool = False) -> None:
        self.places = Places(m)
        self.known: Known[None] = Known()  # texts that were read
        self.is_by_prompt = is_by_prompt
        self.groups: dict[int, int] = {}

    def open(self, tip: Tip) -> Text:
        upto = self.known.longest(tip.tokens)[0]
        if self.is_by_prompt:
            return Text(tip.tokens, max(upto, tip.prompt), self._group(tip))
        text = Text(tip.tokens, upto)
        self.read(text)
        self.known.mark(tip.tokens, None)
        return text

    def _group(self, tip: Tip) -> int:
        prompt = hash(tuple(tip.tokens[: tip.prompt]))
        group = self.groups.pop(prompt, None)
        if group is None:
            if len(self.groups) >= GROUPS:
                del self.groups[next(iter(self.groups))]
            group = max(self.groups.values(), default=-1) + 1
        self.groups[prompt] = group
        return group

    def after(self, tip: Tip, text: Text, depth: int) -> Votes | None:
        if self.is_by_prompt:  # its own text does not count, nor what answers other questions
            return self.places.after(tip.tokens, text, text.group)
        return self.places.after(tip.tokens)

    def read(self, text: Text) -> None:
        self.places.read(text)

    def close(self, text: Text) -> None:
        self.places.read(text)
        self.known.mark(text.tokens, None)

    @property
    def state_bytes(self) -> float:
        return self.places.state_bytes


class Mine:
    """What is remembered of a tip."""

    __slots__ = ("text", "noise", "guess")

    def __init__(self, text: Text, noise: Noise | None) -> None:
        self.text, self.noise = text, noise
        self.guess: Guess | None = None


class RetrievalSource:
    """A library at work, and how often its guesses come true."""

    tops = 0

    def __init__(
        self, name: str, config: Config, studio: Studio, library: Library, is_warm: bool = False
    ) -> None:
        self.name, self.config, self.studio, self.library, self.is_warm = (
            name,
            config,
            studio,
            library,
            is_warm,
        )
        self.rates = Rates(bins(2))

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        mine, config = self._mine(tip), self.config
        depth = min(depth, config.depth)
        votes = self.library.after(tip, mine.text, depth)
        if votes is None:
            return None
        ballot = Ballot(self.rates, mine.noise)
        mine.guess = grow(config.shape, ballot, votes, depth, min(nodes, config.n), self.name)
        return mine.guess.draft if mine.guess else None

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        mine = self._mine(tip)
        if mine.guess is not None:
            self.rates.settle(outcome, mine.guess)
            mine.guess = None
        self.library.read(mine.text)

    def end(self, tip: Tip) -> None:
        self.library.close(self._mine(tip).text)

    @property
    def state_bytes(self) -> float:
        return self.library.state_bytes

    def _mine(self, tip: Tip) -> Mine:
        found: Mine | None = tip.local.get(self)
        if found is None:
            found = tip.local[self] = Mine(self.library.open(tip), noise_of(tip, self.studio))
        return found
