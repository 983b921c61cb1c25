"""Ctrl-C that never falls between an answer and its line in the results."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """While this is entered, Ctrl-C acts at once, but inside `held()` it waits for the block's end."""

    def __init__(self) -> None:
        self._seen = False
        self._held = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # only there can Python hear signals
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._seen = True
        if not self._held:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """A block that Ctrl-C does not break."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._seen:
            raise KeyboardInterrupt
