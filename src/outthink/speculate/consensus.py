"""Consensus: guess what sibling branches of the same question wrote at the like place."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.drafting import Outcome, Studio, Tip
from outthink.core.types import Draft
from outthink.spec import show
from outthink.speculate._known import Known
from outthink.speculate._noise import Noise, noise_of
from outthink.speculate._places import Ballot, Places, Text
from outthink.speculate._rates import Guess, Rates, bins
from outthink.speculate._trees import Shape, check_shape, grow


@dataclass(frozen=True)
class Consensus:
    """Guess the token sequences on which the other samples of the same question agree.

        votes = what followed the last m tokens in each sibling's own writing, 4 ** (length of match) each
        guess = the n likeliest nodes of the merged continuations

    A branch alone gets no draft: its own text does not count. Li et al., "Speculative Decoding for
    Multi-Sample Inference".
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

    def open(self, studio: Studio) -> ConsensusSource:
        return ConsensusSource(self, studio)


class ConsensusSource:
    """What the branches of each prompt have written."""

    name = "consensus"
    tops = 0

    def __init__(self, config: Consensus, studio: Studio) -> None:
        self.config, self.studio = config, studio
        self.places = Places(config.m)
        self.known: Known[None] = Known()
        self.groups: dict[tuple[int, ...], int] = {}
        self.rates = Rates(bins(2))

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        mine, config = self._mine(tip), self.config
        text, noise, _ = mine
        votes = self.places.after(tip.tokens, text, text.group)
        if votes is None:
            return None
        guess = grow(
            config.shape,
            Ballot(self.rates, noise),
            votes,
            min(depth, config.depth),
            min(nodes, config.n),
            self.name,
        )
        tip.local[self] = (text, noise, guess)
        return guess.draft if guess else None

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        text, noise, guess = self._mine(tip)
        if guess is not None:
            self.rates.settle(outcome, guess)
            tip.local[self] = (text, noise, None)
        self.places.read(text)

    def end(self, tip: Tip) -> None:
        self.known.mark(tip.tokens, None)

    @property
    def state_bytes(self) -> float:
        return self.places.state_bytes

    def _mine(self, tip: Tip) -> tuple[Text, Noise | None, Guess | None]:
        """The tip's own text, its noise and its last guess. Only what is written is read, not the prompt."""
        if self not in tip.local:
            prompt = tuple(tip.tokens[: tip.prompt])
            group = self.groups.setdefault(prompt, len(self.groups))
            upto = max(self.known.longest(tip.tokens)[0], tip.prompt)
            tip.local[self] = (Text(tip.tokens, upto, group), noise_of(tip, self.studio), None)
        mine: tuple[Text, Noise | None, Guess | None] = tip.local[self]
        return mine
