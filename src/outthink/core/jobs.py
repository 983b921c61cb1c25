"""What is asked of a backend: passes over packed rows, and whole stretches of writing.

A local model takes `PassJob`s that the engine packs. A remote endpoint takes `GenerateJob`s, and where it can
score given text `ScoreJob`s.
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
    """One forward over packed rows, then draws and reads on the wanted ones.

    With `steps`, up to so many passes, each made from the one before it: every row's token is what was
    drawn from it, one slot and one position on. Draws then come row by row; where those of a row differ, the
    step is the last one.
    """

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
    steps: int = (
        1  # above 1: each row is a leaf's last token and drawn from; feed it what was drawn, so often
    )
    ends: bytes = b""  # by token: whether a step that draws it is the last one
    is_hidden: bool = False  # hidden states of the wanted rows instead of logits: all reads want them
    tree: int = 0  # whose slots these are, by number; later trees have larger ones
    number: int = field(default_factory=_numbers.__next__)


@dataclass(slots=True)
class PassResult:
    drawn: list[Drawn]
    dists: list[Dist]
    seconds: float  # of the forward alone
    before: Sequence[list[Drawn]] = ()  # of the steps before the last one, if there were several
    state_bytes: float = 0.0  # what the variant that ran holds beside the model


class Bill(NamedTuple):
    """What an endpoint asked for serving a job. `is_measured`: by its own usage, else counted here."""

    read: int = 0  # prompt tokens, retries included
    cached: int = 0  # of these, found in its prefix cache
    written: int | None = None  # None: it did not say
    lost: int = 0  # tokens that were written and thrown away: by retries
    dollars: float = 0.0
    seconds: float = 0.0
    is_measured: bool = True
    notes: tuple[tuple[str, str], ...] = ()  # (what, why): for the receipt's degradations


class Piece(NamedTuple):
    """A token of an endpoint as text, by the id that the backend's tokenizer gave it."""

    token: int
    logprob: float | None


class Ended(NamedTuple):
    """The last event of a GenerateJob: "eos", "stop" (with the text it stopped on) or "length"."""

    reason: str
    stopped_on: str
    bill: Bill


class Restart(NamedTuple):
    """What had arrived of a GenerateJob is void: it is written again from its beginning."""


class Scored(NamedTuple):
    """The result of a ScoreJob: the distribution before each given token, or after the prompt."""

    dists: tuple[Dist, ...]
    bill: Bill


@dataclass(slots=True, eq=False)
class GenerateJob:
    """A whole stretch of writing, for endpoints.

    Lists of `Piece`s (or a `Restart`) stream into the inbox, then one `Ended` or an exception.
    """

    tokens: Sequence[int]  # the whole path
    origin: int  # how many of them are the prompt; the rest was written before
    sampling: Sampling
    cap: int | None  # tokens; None: as many as the endpoint allows
    seed: int
    group: object = None  # jobs that differ in their seed alone have the same: one request may serve them
    needs_logprobs: bool = False  # an answer without them is an error
    number: int = field(default_factory=_numbers.__next__)


@dataclass(slots=True, eq=False)
class ScoreJob:
    """Score the last `given` tokens of a path as they stand; with given=0, the distribution after the path.

    One `Scored` arrives in the inbox, or an exception.
    """

    tokens: Sequence[int]
    origin: int
    given: int
    top: int  # the k likeliest tokens
    number: int = field(default_factory=_numbers.__next__)


Job = PassJob | GenerateJob | ScoreJob


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
