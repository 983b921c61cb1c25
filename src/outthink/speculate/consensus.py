"""Consensus: guess what sibling branches of the same question wrote at the like place."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.drafting import Studio
from outthink.spec import show
from outthink.speculate._retrieval import RetrievalSource, Texts, check
from outthink.speculate._trees import Shape


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
        check(self)

    def open(self, studio: Studio) -> RetrievalSource:
        return RetrievalSource("consensus", self, studio, Texts(self.m, is_by_prompt=True))
