"""Sample, then match: the accept rule that leaves every token as plain decoding draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from outthink.core.drafting import Accepted, Target
from outthink.core.rng import Chance
from outthink.core.types import Draft
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
        below = {
            (p, t): i
            for i, (t, p) in reversed(list(enumerate(zip(draft.tokens, draft.parents, strict=True))))
        }
        path: list[int] = []
        at, token = -1, target.token(-1)
        while (child := below.get((at, token), -1)) >= 0 and target.has(child):
            path.append(child)
            at, token = child, target.token(child)
        return Accepted(tuple(path), token)
