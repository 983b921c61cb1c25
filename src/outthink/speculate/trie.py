"""Trie: retrieve the branches that followed the last tokens, in prompts and in all outputs."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.drafting import Studio
from outthink.spec import show
from outthink.speculate._retrieval import RetrievalSource, Texts, check
from outthink.speculate._trees import Shape


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
        check(self)

    def open(self, studio: Studio) -> RetrievalSource:
        return RetrievalSource("trie", self, studio, Texts(self.m))
