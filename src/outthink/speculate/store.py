"""Store: guess what followed the longest suffix of the text in a datastore of files or past runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from outthink.core.drafting import Studio, Tip
from outthink.core.errors import BadInput
from outthink.spec import show
from outthink.speculate._places import Text, Votes
from outthink.speculate._retrieval import RetrievalSource, check
from outthink.speculate._trees import Shape

LONGEST = 16  # tokens of context that are looked up
PLACES = 16  # continuations that are merged


@dataclass(frozen=True)
class Store:
    """Guess from a datastore: what followed the longest suffix of the text in it, merged as a tree.

        l = longest suffix of at most 16 tokens that is in the datastore; no draft below m tokens
        votes = up to 16 of its places; guess = the n likeliest nodes of what followed them

    One bisection over a sorted array of places (`_suffixes.py`). `outthink store build` makes the file, of
    many files where there are many. "CodeSwift: Accelerating LLM Inference for Efficient Code Generation",
    which also leaves out lookups and caches their answers: one takes microseconds here, so every step has its
    own. For counts, "Infini-gram mini".
    """

    path: str
    n: int = 12
    m: int = 2
    depth: int = 8
    shape: Shape = "best_nodes"

    __repr__ = show

    def __post_init__(self) -> None:
        check(self, LONGEST)

    def open(self, studio: Studio) -> RetrievalSource:
        """Raises BadInput for a file that is missing, corrupt, or of another tokenizer."""
        return RetrievalSource("store", self, studio, Datastore(self, studio), is_warm=True)


class Datastore:
    """An open datastore; what is written here does not go into it."""

    state_bytes = 0.0  # the file is mapped, not read

    def __init__(self, config: Store, studio: Studio) -> None:
        from outthink.speculate._suffixes import fingerprint, open_suffixes  # numpy, where it is needed

        self.m = config.m
        self.suffixes = open_suffixes(config.path)
        if self.suffixes.tokenizer != fingerprint(studio.tokenizer, studio.vocab):
            raise BadInput(
                f"the datastore {config.path} is of another tokenizer: build it with that of this model"
            )

    def open(self, tip: Tip) -> Text:
        return Text(tip.tokens)

    def after(self, tip: Tip, text: Text, depth: int) -> Votes | None:
        length, found = self.suffixes.after(tip.tokens, self.m, LONGEST, PLACES, depth)
        if not found:
            return None
        return [(words, 0, 4.0 ** min(length, 8)) for words in found], len(tip.tokens)

    def read(self, text: Text) -> None:
        """Nothing is learned."""

    def close(self, text: Text) -> None:
        """Nothing is remembered."""


def write_store(path: Path | str, texts: Iterable[str | Sequence[int]], studio: Studio) -> int:
    """Build a datastore for `Store`: texts, or tokens of past runs; its size in bytes."""
    from outthink.speculate._suffixes import build

    encode = studio.tokenizer.encode
    tokens = (encode(text, special=False) if isinstance(text, str) else text for text in texts)
    return build(path, tokens, studio.tokenizer, studio.vocab)
