"""What is asked of a backend: passes over packed rows, and whole stretches of writing.

A local model takes `PassJob`s that the engine packs. A remote endpoint takes `GenerateJob`s: it is all it
can do.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from outthink.core.batch import Batch, Move
from outthink.core.types import Dist, Sampling, Want

_numbers = itertools.count()


class Draw(NamedTuple):
    """Draw the next token after wanted row `row` (an index into Batch.wanted)."""

    row: int
    key: int  # 64-bit key of the purpose on the branch
    position: int  # that is being written: the index of the noise
    sampling: Sampling
    states: tuple[Any, ...]  # one state for each stateful warp, folded over exactly this prefix
    is_whole: bool = False  # whether the distributions themselves are wanted too, for an accept rule


class Read(NamedTuple):
    """Reduce wanted row `row` to what is wanted."""

    row: int
    want: Want


class Drawn(NamedTuple):
    """A drawn token, its log-probability before warps, and the statistics that Sampling.stats asked for."""

    token: int
    logprob: float
    stats: tuple[float, ...]
    rows: tuple[Any, Any] | None = None  # for Draw.is_whole: log-probabilities before warps, and after all


class Variant(NamedTuple):
    """A cheaper way to run the same weights: some layers only, or rounded to 8 bits."""

    layers: tuple[int, ...] | None = None  # those that run, in order; None: all
    is_int8: bool = False


@dataclass(slots=True, eq=False)
class PassJob:
    """One forward over packed rows, then draws and reads on the wanted ones."""

    batch: Batch
    draws: list[Draw] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    moves: list[list[Move]] = field(
        default_factory=list
    )  # before the pass, each list read all, then written all
    keep: int = 0  # above 0: keep the logits of the wanted rows, numbered from here on
    reuse: list[int] = field(
        default_factory=list
    )  # kept logits, as if they were wanted rows after the others
    variant: Variant | None = None  # run the pass on a variant of the model; rows are scratch then
    number: int = field(default_factory=_numbers.__next__)


@dataclass(slots=True)
class PassResult:
    drawn: list[Drawn]
    dists: list[Dist]
    seconds: float  # of the forward alone


@dataclass(slots=True, eq=False)
class GenerateJob:
    """A whole stretch of writing, for endpoints. `on_text` hears the text as it streams in."""

    prompt: Sequence[int] | str
    sampling: Sampling
    seed: int
    on_text: Callable[[str], None] | None = None
    number: int = field(default_factory=_numbers.__next__)


Job = PassJob | GenerateJob


class Inbox:
    """Where results arrive. `deque.append` is atomic, so that other threads may put; `notify` wakes a
    sleeping engine."""

    def __init__(self, notify: Callable[[], None] = lambda: None) -> None:
        self._items: deque[tuple[Any, Any]] = deque()
        self.notify = notify

    def put(self, job: Any, result: Any) -> None:
        """Deliver a result, or an exception, for a job."""
        self._items.append((job, result))
        self.notify()

    def take(self) -> list[tuple[Any, Any]]:
        """Everything that has arrived, oldest first."""
        out = []
        while self._items:
            out.append(self._items.popleft())
        return out
