"""Counters and clocks around a backend, so that no number rests on what the engine says of itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
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
    steps: list[int] = field(default_factory=list)  # how many it did in that time

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched."""

        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.sizes.append(len(args[self.index]))
            self.steps.append(1)
            self.begins.append(time.perf_counter())
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds.append(time.perf_counter() - self.begins[-1])

        return watched

    def count(self) -> int:
        """How many it did in all."""
        return sum(self.steps)

    def total(self) -> int:
        """All sizes together."""
        return sum(size * steps for size, steps in zip(self.sizes, self.steps, strict=True))


@dataclass
class Watched:
    """What a backend did: passes over the model, plans of attention (inside a pass), and draws of tokens.

    Where several passes are one call, draws and all, that call is one entry of `forward` and one of `draw`,
    the draws' time, which the call tells, taken off the first.
    """

    forward: Calls = field(default_factory=Calls)  # sizes: rows
    plan: Calls = field(default_factory=Calls)
    draw: Calls = field(default_factory=lambda: Calls(index=1))  # sizes: tokens

    def around_one(self, one: Callable[..., Any]) -> Callable[..., Any]:
        """`NativeDraw.one`, watched."""

        def watched(*args: Any) -> Any:
            began = time.perf_counter()
            found = one(*args)
            if found is not None:
                self.draw.begins.append(began)
                self.draw.seconds.append(time.perf_counter() - began)
                self.draw.sizes.append(1)
                self.draw.steps.append(1)
            return found

        return watched

    def around_write(self, write: Callable[..., Any]) -> Callable[..., Any]:
        """`NativeModel.write`, watched."""

        def watched(batch: Any, *args: Any) -> Any:
            began = time.perf_counter()
            found = write(batch, *args)
            _, steps, drawing = found
            whole = time.perf_counter() - began
            sizes = len(batch), len(args[1])
            for calls, size, seconds in zip(
                (self.forward, self.draw), sizes, (whole - drawing, drawing), strict=True
            ):
                calls.begins.append(began)
                calls.seconds.append(seconds)
                calls.sizes.append(size)
                calls.steps.append(len(steps))
            return found

        return watched


@contextmanager
def watching(backend: LocalBackend) -> Iterator[Watched]:
    """Watch a backend on a lean model."""
    from outthink.models import attention

    seen = Watched()
    with ExitStack() as patches:
        draw = seen.draw.around(backend.draw)
        for owner, name, watched in (
            (backend.model, "forward", seen.forward.around(backend.model.forward)),
            (backend, "draw", draw),
            (attention, "plan", seen.plan.around(attention.plan)),
        ):
            patches.enter_context(mock.patch.object(owner, name, watched))
        if hasattr(
            backend.model, "write"
        ):  # several steps in one call, as `backend.draw` would have asked for
            watched = seen.around_write(backend.model.write)
            patches.enter_context(mock.patch.object(backend.model, "write", watched))
            draw.run_on = draw.__wrapped__.run_on  # type: ignore[attr-defined]
        if hasattr(draw.__wrapped__, "one"):  # type: ignore[attr-defined]
            draw.one = seen.around_one(draw.__wrapped__.one)  # type: ignore[attr-defined]
        yield seen
