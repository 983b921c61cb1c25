"""Speculative sampling: accept a drafted token with probability min(1, p / q)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from outthink.core.draft import Draft
from outthink.core.drafting import Accepted, Target
from outthink.core.rng import Chance
from outthink.spec import show
from outthink.speculate.rules._rows import children, walk


@dataclass(frozen=True)
class Rejection:
    """Accept a drafted token x with probability min(1, p(x) / q(x)); else draw from max(p - q, 0).

    p is the model's distribution, q the one that x was drawn from (1 for a guess that was not drawn). For
    chains: of a tree it reads the first child of each node. Writes the model's own distribution; drafts must
    not be cut by their own probabilities, nor know the target's noise; the text under a seed is another than
    plain decoding's. Leviathan et al., "Fast Inference from Transformers via Speculative Decoding"; Chen et
    al., "Accelerating Large Language Model Decoding with Speculative Sampling".
    """

    lossless = True
    reads_rows = True
    __repr__ = show

    def __call__(
        self, target: Target, draft: Draft, chance: Callable[[str], Chance], position: int
    ) -> Accepted:
        first = {at: nodes[:1] for at, nodes in children(draft).items()}
        return walk(target, draft, first, chance, position)
