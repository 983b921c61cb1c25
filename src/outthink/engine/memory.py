"""What drafters know from one request to the next. It may change what a request costs, never what it writes.

Kept apart for every share (on a server: every key), so that how fast one gets its text says nothing of what
another wrote. The least recently used goes first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from outthink.core.drafting import Source

MOST = 64  # drafters, of all shares together, that are remembered


class Memory:
    """The pace of drafters (numbers), and where that is asked for their live halves, texts and all."""

    def __init__(self) -> None:
        self._paces: dict[tuple[str, str], dict[str, Any]] = {}
        self._sources: dict[tuple[str, str], Source] = {}

    def pace(self, share: str, drafter: str) -> dict[str, Any]:
        """Numbers about drafting for a share: no tokens in them."""
        found: dict[str, Any] = _latest(self._paces, (share, drafter), dict)
        return found

    def source(self, share: str, drafter: str, open_one: Callable[[], Source]) -> tuple[Source, bool]:
        """The live half that a share's requests go on with, and whether it has served one before."""
        is_warm = (share, drafter) in self._sources
        return _latest(self._sources, (share, drafter), open_one), is_warm

    def forget(self, share: str) -> None:
        """Let go of all that a share's requests have taught."""
        for kept in (self._paces, self._sources):
            for key in [key for key in kept if key[0] == share]:
                del kept[key]


def _latest(kept: dict[tuple[str, str], Any], key: tuple[str, str], make: Callable[[], Any]) -> Any:
    """The value of a key, made if it is not there, now the most recently used."""
    value = kept.pop(key, None)
    if value is None:
        value = make()
        if len(kept) >= MOST:
            del kept[next(iter(kept))]
    kept[key] = value
    return value
