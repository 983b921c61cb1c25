"""Stop texts, looked for in what is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class StopText:
    """Looks for stop texts in what is written, however its tokens merge.

    `lengths[i]` is how many characters are certain after token i; a character counts once all of its bytes
    are there. They are not known where `push_all` took several tokens; `is_exact` says so.
    """

    def __init__(self, decoder: Any, stops: Sequence[str]) -> None:
        self.decoder = decoder
        self.stops = stops
        self.reach = max(map(len, stops))
        self.text = ""
        self.lengths: list[int] = []
        self.is_exact = True
        self.found = ""
        self.at = -1

    def push(self, token: int) -> bool:
        """Take a token; whether a stop text is complete. The one that ends first wins, then the longest."""
        old = len(self.text)
        self.text += self.decoder.push(token)
        self.lengths.append(len(self.text))
        if len(self.text) == old:
            return False
        hits = [
            (at + len(stop), -len(stop), at, stop)
            for stop in self.stops
            if (at := self.text.find(stop, max(0, old - self.reach + 1))) >= 0
        ]
        if hits:
            _, _, self.at, self.found = min(hits)
        return bool(hits)

    def push_all(self, tokens: Sequence[int]) -> bool:
        """Take tokens none of which completes a stop text, all at once; False, and nothing is taken, where
        that cannot be told."""
        if not tokens:
            return True
        text = self.decoder.ahead(tokens) if hasattr(self.decoder, "ahead") else ""
        end = self.text[len(self.text) - self.reach + 1 :] if len(self.text) >= self.reach else self.text
        if not text or any(stop in end + text for stop in self.stops):
            return False
        self.decoder.skip(tokens)
        self.text += text
        self.lengths += [len(self.text)] * len(tokens)
        self.is_exact = False
        return True

    def cut(self, keep: bool) -> int:
        """How many characters stay."""
        return self.at + len(self.found) if keep else self.at

    def tokens_within(self, chars: int) -> int:
        """The fewest leading tokens that give as much of the first `chars` characters as whole tokens can."""
        best = max((n for n in self.lengths if n <= chars), default=0)
        return 0 if best == 0 else self.lengths.index(best) + 1
