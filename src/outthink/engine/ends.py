"""Which tokens may end a text: a pass may be followed by another one at once unless one of them is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outthink.engine.stretch import Stretch

LARGE = 16384  # tokens of a vocabulary that is not looked through for stop texts
MOST = 64  # tables that are kept

Key = tuple[frozenset[int], tuple[int, ...], tuple[str, ...]]


class Ends:
    """For one tokenizer: by token, whether a text may end with it. The latest tables are kept."""

    def __init__(self, tokenizer: Any, vocab: int) -> None:
        self.tokenizer, self.vocab = tokenizer, vocab
        self._tables: dict[frozenset[Key], bytes | None] = {}
        self._texts: list[str] = []

    def of(self, stretches: Iterable[Stretch]) -> bytes | None:
        """The tokens that may end one of these texts; None if that cannot be told by the token."""
        keys = frozenset((s.eos, s.sampling.stop_tokens, s.sampling.stop) for s in stretches)
        if keys not in self._tables:
            if len(self._tables) >= MOST:
                del self._tables[next(iter(self._tables))]
            self._tables[keys] = self._table(keys)
        return self._tables[keys]

    def _table(self, keys: Iterable[Key]) -> bytes | None:
        table = bytearray(self.vocab)
        for eos, stop_tokens, stops in keys:
            if stops and not self._can_tell(stops):
                return None
            for token in (*eos, *stop_tokens, *self._completing(stops)):
                if 0 <= token < self.vocab:
                    table[token] = 1
        return bytes(table)

    def _can_tell(self, stops: Iterable[str]) -> bool:
        """A stop text is complete with its last character. One of ASCII is within one token; a blank may be
        left out by a decoder that sees a token alone."""
        return self.vocab <= LARGE and all(stop[-1].isascii() and stop[-1] != " " for stop in stops)

    def _completing(self, stops: Iterable[str]) -> list[int]:
        last = {stop[-1] for stop in stops}
        if last and not self._texts:
            self._texts = [self.tokenizer.decode([token]) for token in range(self.vocab)]
        return [token for token, text in enumerate(self._texts) if last & set(text)] if last else []
