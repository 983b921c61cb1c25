"""Sample, then match: the accept rule that leaves every token as plain decoding draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from outthink.core.draft import Draft
from outthink.core.drafting import Accepted, Target
from outthink.core.rng import Chance
from outthink.spec import show


@dataclass(frozen=True)
class Match:
    """Walk from the tip while the token that the model draws is a child in the draft.

    Exact for every sampler, penalty and warp, for chains and trees, and token for token the text of plain
    decoding: every written token is the model's own draw with its own noise.
    """

    lossless = True
    reads_rows = False
    __repr__ = show

    def __call__(
        self, target: Target, draft: Draft, chance: Callable[[str], Chance], position: int
    ) -> Accepted:
        path: list[int] = []
        at, token = -1, target.token(-1)
        for node, (drafted, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
            if parent == at and drafted == token:
                if not target.has(node):
                    break
                path.append(node)
                at, token = node, target.token(node)
        return Accepted(tuple(path), token)
