"""Trie: retrieve the branches that followed the last tokens, in prompts and in all outputs."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.drafting import Outcome, Studio, Tip
from outthink.core.types import Draft
from outthink.spec import show
from outthink.speculate._known import Known
from outthink.speculate._noise import noise_of
from outthink.speculate._places import Ballot, Places, Text
from outthink.speculate._rates import Guess, Rates, bins
from outthink.speculate._trees import Shape, check_shape, grow


@dataclass(frozen=True)
class Trie:
    """Guess several branches at once: the trie of what followed the last tokens in every text of the run.

        places = the 16 latest places of the last m tokens, in prompts and outputs of all branches
        weight of a place = 4 ** (length of its match); trie = the merged continuations, votes by weight
        guess = the n nodes of largest path probability

    Zhao et al., "Lookahead: An Inference Acceleration Framework for Large Language Model with Lossless
    Generation Accuracy"; here the trie is merged from places when it is asked for, so that a token costs one
    entry.
    """

    n: int = 12
    m: int = 2
    depth: int = 8
    shape: Shape = "best_nodes"

    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_shape(self.shape, self.n)
        if self.m < 1 or self.depth < 1:
            raise ValueError(f"m={self.m}, depth={self.depth}: give at least 1")

    def open(self, studio: Studio) -> TrieSource:
        return TrieSource(self, studio)


class TrieSource:
    """The places of all texts of a run."""

    name = "trie"
    tops = 0

    def __init__(self, config: Trie, studio: Studio) -> None:
        self.config, self.studio = config, studio
        self.places = Places(config.m)
        self.known: Known[None] = Known()
        self.rates = Rates(bins(2))

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        mine, config = self._mine(tip), self.config
        votes = self.places.after(tip.tokens)
        if votes is None:
            return None
        ballot = Ballot(self.rates, mine.noise)
        mine.guess = grow(
            config.shape, ballot, votes, min(depth, config.depth), min(nodes, config.n), self.name
        )
        return mine.guess.draft if mine.guess else None

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        mine = self._mine(tip)
        self.rates.settle(outcome, mine.guess)
        mine.guess = None
        self.places.read(mine.text)

    def end(self, tip: Tip) -> None:
        self.known.mark(tip.tokens, None)

    @property
    def state_bytes(self) -> float:
        return self.places.state_bytes

    def _mine(self, tip: Tip) -> _Mine:
        if self not in tip.local:
            mine = tip.local[self] = _Mine(tip, self.studio, self.known.longest(tip.tokens)[0])
            self.places.read(mine.text)
            self.known.mark(tip.tokens, None)
        found: _Mine = tip.local[self]
        return found


class _Mine:
    """What is remembered of a tip."""

    __slots__ = ("text", "noise", "guess")

    def __init__(self, tip: Tip, studio: Studio, upto: int) -> None:
        self.text = Text(tip.tokens, upto)
        self.noise = noise_of(tip, studio)
        self.guess: Guess | None = None
