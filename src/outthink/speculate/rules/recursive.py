"""Recursive rejection: try the siblings one after another, each against what the earlier ones left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from outthink.core.draft import Draft
from outthink.core.drafting import Accepted, Target
from outthink.core.rng import Chance
from outthink.spec import show
from outthink.speculate.rules._rows import children, walk


@dataclass(frozen=True)
class Recursive:
    """Accept a node with probability min(1, p / q), else try its next sibling against what is left of p.

        p = model's distribution after the node
        for each child, in order, drawn from q given the siblings before it:
            accept with probability min(1, p(x) / q(x)), and go on below it
            else p = max(p - q, 0), normalised
        no child accepted: draw from p

    Writes the model's own distribution, for chains and trees, whether siblings were drawn with or without
    replacement or are fixed guesses (q is 1 there). Drafts must not be cut by their own probabilities, nor
    know the target's noise. The text is another one than plain decoding's under the same seed, and where
    drafts depend on what other branches wrote it depends on the batch: only `match` keeps the text. Jeon et
    al., "Recursive Speculative Decoding: Accelerating LLM Inference via Sampling Without Replacement".
    """

    lossless = True
    reads_rows = True
    __repr__ = show

    def __call__(
        self, target: Target, draft: Draft, chance: Callable[[str], Chance], position: int
    ) -> Accepted:
        return walk(target, draft, children(draft), chance, position)
