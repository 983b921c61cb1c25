"""A text on a drafting model that follows a tip of the target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from outthink.core.drafting import Tip
from outthink.core.tasks import evaluate
from outthink.core.types import Sampling
from outthink.core.work import WriteWork

if TYPE_CHECKING:
    from outthink.engine.place import Place


class Follower:
    """A text on a drafting model that follows a tip: what a Stretch needs of a branch, and no more.

    It draws with the tip's key, so the draft is what that model would write under the target's own noise.
    """

    def __init__(
        self, place: Place, tip: Tip, tokens: Sequence[int], sampling: Sampling, salt: str = ""
    ) -> None:
        self.place = place
        self.sampling = replace(sampling, stop=(), stats=())
        self.path = tip.path
        self.key = tip.branch_key
        self.origin = min(tip.prompt, len(tokens))
        self.logps: list[float | None] = []
        self.stats: dict[str, list[float]] = {}
        self.sure: list[float] = []
        self.samplings: dict[int, Sampling] = {}  # by their most tokens
        self.known = list(tokens)
        self.followed = len(self.known)  # tokens of the tip, when it was last followed
        self.salt = salt  # of its cache: texts of other salts are not to be found in it
        self.cursor = place.tree.open(self.known, salt=salt)

    async def follow(self, tokens: Sequence[int]) -> None:
        """Go to exactly these tokens, keeping the cache of what they share with where it stood."""
        same = self._common(tokens)
        if same:
            self.place.tree.rewind(self.cursor, same)
            self.place.tree.extend(self.cursor, tokens[same:], keep=True)
        else:
            self.place.tree.close(self.cursor)
            self.cursor = self.place.tree.open(tokens, salt=self.salt)
        self.known, self.followed = list(tokens), len(tokens)

    async def write(self, count: int) -> list[int]:
        """Write at most so many tokens; fewer where the text ends, or the model's context does."""
        before = self.cursor.length
        count = min(count, self.place.context - before)
        self.logps, self.sure = [], []
        if count < 1:
            return []
        await evaluate(WriteWork(self, self._at_most(count)))  # type: ignore[arg-type]
        written = self.place.tree.tokens(self.cursor, before)
        self.known += written
        self.sure = [min(1.0, math.exp(logp)) for logp in self.logps if logp is not None]
        return written

    def _common(self, tokens: Sequence[int]) -> int:
        """How many tokens it begins with as these do: all that it followed before, as a rule."""
        known, followed = self.known, self.followed
        since = followed if known[:followed] == tokens[:followed] else 0
        apart = (i for i in range(since, min(len(known), len(tokens))) if known[i] != tokens[i])
        return next(apart, min(len(known), len(tokens)))

    def _at_most(self, count: int) -> Sampling:
        """Its sampling for so many tokens: to make one takes as long as to look through a text."""
        found = self.samplings.get(count)
        if found is None:
            found = self.samplings[count] = replace(self.sampling, max_tokens=count)
        return found

    def text(self, since: int = 0) -> str:
        """Nobody reads it."""
        return ""

    def close(self) -> None:
        self.place.tree.close(self.cursor)
