"""What drafters know from one request to the next. It may change what a request costs, never what it writes.

Kept apart for every share (on a server: every key), so that how fast one gets its text says nothing of what
another wrote; texts for every salt, too, as in the cache. The least recently used goes first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from outthink.core.drafting import Source

MOST = 64  # drafters, of all shares together, that are remembered
MOST_BYTES = 256 * 2**20  # that their live halves may hold in all; each bounds what it holds itself


class Memory:
    """The pace of drafters (numbers), and where that is asked for their live halves, texts and all."""

    def __init__(self) -> None:
        self._paces: dict[tuple[str, str], dict[str, Any]] = {}
        self._sources: dict[tuple[str, ...], Source] = {}

    def pace(self, share: str, drafter: str) -> dict[str, Any]:
        """Numbers about drafting for a share: no tokens in them."""
        found: dict[str, Any] = _latest(self._paces, (share, drafter), dict)
        return found

    def source(
        self, share: str, salt: str, drafter: str, open_one: Callable[[], Source]
    ) -> tuple[Source, bool]:
        """The live half that requests of a share and salt go on with, and whether it has served one
        before."""
        is_warm = (share, salt, drafter) in self._sources
        source: Source = _latest(self._sources, (share, salt, drafter), open_one)
        while len(self._sources) > 1 and self.state_bytes > MOST_BYTES:
            del self._sources[next(iter(self._sources))]
        return source, is_warm

    def forget(self) -> None:
        """Live halves start cold; numbers stay."""
        self._sources.clear()

    @property
    def state_bytes(self) -> float:
        """About what the live halves remember."""
        return sum(float(getattr(source, "state_bytes", 0.0)) for source in self._sources.values())


def _latest(kept: dict[Any, Any], key: tuple[str, ...], make: Callable[[], Any]) -> Any:
    """The value of a key, made if it is not there, now the most recently used."""
    value = kept.pop(key, None)
    if value is None:
        value = make()
        if len(kept) >= MOST:
            del kept[next(iter(kept))]
    kept[key] = value
    return value
