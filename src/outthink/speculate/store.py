"""Store: guess what followed the longest suffix of the text in a datastore of files or past runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from outthink.core.drafting import Outcome, Studio, Tip
from outthink.core.errors import BadInput
from outthink.core.types import Draft
from outthink.spec import show
from outthink.speculate._noise import noise_of
from outthink.speculate._places import Ballot
from outthink.speculate._rates import Guess, Rates, bins
from outthink.speculate._trees import Shape, check_shape, grow

LONGEST = 16  # tokens of context that are looked up
PLACES = 16  # continuations that are merged


@dataclass(frozen=True)
class Store:
    """Guess from a datastore: what followed the longest suffix of the text in it, merged as a tree.

        l = longest suffix of at most 16 tokens that is in the datastore; no draft below m tokens
        votes = up to 16 of its places; guess = the n likeliest nodes of what followed them

    One bisection over a sorted array of places (`_suffixes.py`). `write_store` builds the file. "CodeSwift:
    Accelerating LLM Inference for Efficient Code Generation"; "Infini-gram mini" for exact counts.
    """

    path: str
    n: int = 12
    m: int = 2
    depth: int = 8
    shape: Shape = "best_nodes"

    __repr__ = show

    def __post_init__(self) -> None:
        check_shape(self.shape, self.n)
        if not 1 <= self.m <= LONGEST or self.depth < 1:
            raise ValueError(f"m={self.m}, depth={self.depth}: give m of 1 to {LONGEST}, depth of at least 1")

    def open(self, studio: Studio) -> StoreSource:
        """Raises BadInput for a file that is missing, corrupt, or of another tokenizer."""
        return StoreSource(self, studio)


class StoreSource:
    """An open datastore."""

    name = "store"
    tops = 0
    is_warm = True

    def __init__(self, config: Store, studio: Studio) -> None:
        self.config, self.studio = config, studio
        from outthink.speculate._suffixes import fingerprint, open_suffixes  # numpy, where it is needed

        self.suffixes = open_suffixes(config.path)
        if self.suffixes.tokenizer != fingerprint(studio.tokenizer, studio.vocab):
            raise BadInput(
                f"the datastore {config.path} is of another tokenizer: build it with that of this model"
            )
        self.rates = Rates(bins(2))

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        config = self.config
        depth = min(depth, config.depth)
        length, found = self.suffixes.after(tip.tokens, config.m, LONGEST, PLACES, depth)
        if not found:
            return None
        votes = ([(text, 0, 4.0 ** min(length, 8)) for text in found], len(tip.tokens))
        noise = tip.local[self][0] if self in tip.local else noise_of(tip, self.studio)
        ballot = Ballot(self.rates, noise)
        guess = grow(config.shape, ballot, votes, depth, min(nodes, config.n), self.name)
        tip.local[self] = (noise, guess)
        return guess.draft if guess else None

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        noise, guess = tip.local.get(self, (None, None))
        if guess is not None:
            assert isinstance(guess, Guess)
            self.rates.settle(outcome, guess)
            tip.local[self] = (noise, None)

    def end(self, tip: Tip) -> None:
        pass


def write_store(path: Path | str, texts: Iterable[str | Sequence[int]], studio: Studio) -> int:
    """Build a datastore for `Store`: texts, or tokens of past runs; its size in bytes."""
    from outthink.speculate._suffixes import build

    encode = studio.tokenizer.encode
    tokens = (encode(text, special=False) if isinstance(text, str) else text for text in texts)
    return build(path, tokens, studio.tokenizer, studio.vocab)
