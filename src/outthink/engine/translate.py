"""A drafting model with another tokenizer: it reads the target's text, and what it writes is read back.

    follow   text of the target's tokens -> tokens of the drafting model
    write    its next tokens -> their text -> tokens of the target, where it goes on from the text as it is

Token numbers mean nothing to the other side, nor does noise by token: so it writes its likeliest tokens,
which are also those that a sampled text takes most often. The target checks every one: the text stays its
own. After "Accelerating LLM Inference with Lossless Speculative Decoding Algorithms for Heterogeneous
Vocabularies".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from outthink.core.drafting import Tip
from outthink.core.errors import BadInput
from outthink.core.types import Sampling
from outthink.engine.follower import Follower

if TYPE_CHECKING:
    from outthink.engine.place import Place

TAIL = (
    8  # tokens that are read again with what follows them: the text of a token may depend on the one before
)
UNFINISHED = "\ufffd"  # half a character


class Translator:
    """`core.drafting.Shadow` by text. Raises BadInput where the drafting model cannot read the text."""

    def __init__(self, place: Place, tip: Tip, tokenizer: Any, salt: str = "") -> None:
        self.own, self.target = place.tokenizer, tokenizer
        text = self.target.decode(tip.tokens)
        tokens = self.own.encode(text)
        if self.own.decode(tokens) != text:
            raise BadInput(
                f"{place.name} has another vocabulary, and cannot read this text: draft with another model"
            )
        self.tail: list[int] = []
        self.sure: list[float] = []  # its tokens are not the target's
        self.follower = Follower(place, tip, tokens, Sampling(temperature=0.0), salt)

    async def follow(self, tokens: Sequence[int]) -> None:
        """Go to the text of exactly these tokens of the target."""
        self.tail = list(tokens[-TAIL:])
        await self.follower.follow(self.own.encode(self.target.decode(tokens)))

    async def write(self, count: int) -> list[int]:
        """At most so many tokens of the target: what the drafting model holds likeliest."""
        if self.target.decode(self.tail).endswith(UNFINISHED):
            return []  # a character is on its way
        before = self.follower.known[-TAIL:]
        written = await self.follower.write(count)
        old, new = self.own.decode(before), self.own.decode(before + written)
        if not new.startswith(old):
            return []
        return self._read(new[len(old) :].rstrip(UNFINISHED))[:count]

    def _read(self, text: str) -> list[int]:
        """New text in tokens of the target, where it goes on from the tail without touching it."""
        tail = self.target.decode(self.tail)
        alone = self.target.encode(tail, special=False)
        both: list[int] = self.target.encode(tail + text, special=False)
        if both[: len(alone)] == alone:
            return both[len(alone) :]
        found: list[int] = self.target.encode(text, special=False)  # it would merge: after it
        return found if self.target.decode(found) == text else []

    def close(self) -> None:
        self.follower.close()
