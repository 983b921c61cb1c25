"""A smaller model drafts, and is itself sped up by a drafter."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.drafting import Drafter, Studio
from outthink.spec import show
from outthink.speculate.draft_model import DraftModel, DraftModelSource


@dataclass(frozen=True)
class Staged:
    """Another model writes n tokens, checking what `inner` drafts for it; the target checks the n.

    Both stages match, so the other model writes what it would have written, and the target too. `inner` must
    not need a model of its own. The paper's draft is a tree; here it is the chain that the other model draws
    with the target's own noise, which is right wherever both hold the same likely. "Accelerating LLM
    Inference with Staged Speculative Decoding" (2308.04623).
    """

    inner: Drafter
    model: str = "pocket-mini"
    n: int = 8
    dtype: str = ""  # of the other model; by default the target's
    __repr__ = show

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n={self.n}: give at least 1")

    def open(self, studio: Studio) -> DraftModelSource:
        return DraftModelSource(DraftModel(self.model, self.n, self.dtype), studio, "staged")
