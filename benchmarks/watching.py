"""Counters and clocks around a backend, so that no number rests on what the engine says of itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from outthink.backends.local import LocalBackend


@dataclass
class Calls:
    """When a function was called, for how long, and how long the argument at `index` was."""

    index: int = 0
    begins: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.sizes.append(len(args[self.index]))
            self.begins.append(time.perf_counter())
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds.append(time.perf_counter() - self.begins[-1])

        return watched


@dataclass
class Watched:
    """What a backend did: passes over the model, plans of attention (inside a pass), and draws of tokens."""

    forward: Calls = field(default_factory=Calls)  # sizes: rows
    plan: Calls = field(default_factory=Calls)
    draw: Calls = field(default_factory=lambda: Calls(index=1))  # sizes: tokens


@contextmanager
def watching(backend: LocalBackend) -> Iterator[Watched]:
    """Watch a backend on a lean model."""
    from outthink.models import llama

    seen = Watched()
    with (
        mock.patch.object(backend.model, "forward", seen.forward.around(backend.model.forward)),
        mock.patch.object(backend, "draw", seen.draw.around(backend.draw)),
        mock.patch.object(llama, "plan", seen.plan.around(llama.plan)),
    ):
        yield seen
