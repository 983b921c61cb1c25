"""What goes between the HTTP process and the engine's: pickled frames over a socket pair, both ends ours.

to the engine:    Order, Abort, Finish, Ask, Quit          to HTTP:   Ready, Failed, News, Ended, Facts
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from outthink.core.types import Budget, Sampling

HEAD = struct.Struct("!I")


def frame(message: Any) -> bytes:
    """A message with its length before it."""
    body = pickle.dumps(message, protocol=5)
    return HEAD.pack(len(body)) + body


def receive(end: socket.socket) -> Any:
    """The next message of a blocking socket; None at its end."""
    head = _exactly(end, HEAD.size)
    body = _exactly(end, HEAD.unpack(head)[0]) if head else None
    return pickle.loads(body) if body else None


def _exactly(end: socket.socket, size: int) -> bytes | None:
    parts, left = [], size
    while left:
        part = end.recv(min(left, 1 << 20))
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


@dataclass(frozen=True)
class Limits:
    """What one request may take, whatever it asks for."""

    written: int = 16384  # tokens
    branches: int = 256  # live at one time
    seconds: float = 300.0
    cache: float = 0.5  # share of the engine's cache


@dataclass(frozen=True)
class Order:
    """One request for the engine: a conversation, a text, or tokens."""

    number: int
    strategy: Any
    messages: tuple[Mapping[str, str], ...] = ()
    text: str = ""
    tokens: tuple[int, ...] = ()
    is_reply_due: bool = True  # the chat template opens the assistant's turn
    is_continued: bool = False  # the last message is written on
    n: int = 1
    seed: int = 0
    speculate: Any = None  # who drafts; None: as the server says, "none": nobody
    budget: Budget = field(default_factory=Budget)
    sampling: Sampling = field(default_factory=Sampling)
    logprobs: int | None = None  # for written tokens: how many likeliest beside the one that was drawn
    prompt_logprobs: int | None = None  # the same for the prompt's
    is_scored_only: bool = False  # nothing is written
    is_echoed: bool = False  # the text of the prompt is wanted
    is_streamed: bool = False
    is_watched: bool = False  # progress is told
    priority: int = 0
    share: str = ""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Abort:
    """Nobody wants this any more."""

    number: int


@dataclass(frozen=True)
class Finish:
    """End this now with the best there is; `what` goes on the receipt."""

    number: int
    what: str


@dataclass(frozen=True)
class Ask:
    """Wants Facts."""

    number: int


@dataclass(frozen=True)
class Quit:
    """The engine ends."""


@dataclass(frozen=True)
class Ready:
    """The model is loaded."""

    model: str
    context: int
    vocab: int


@dataclass(frozen=True)
class Failed:
    """The model cannot be loaded."""

    message: str


@dataclass(frozen=True)
class Token:
    """A token with its log-probability, and the likeliest ones beside it as (id, text, log-probability)."""

    id: int
    text: str
    logprob: float | None
    top: tuple[tuple[int, str, float], ...] = ()


@dataclass
class Piece:
    """Text of one choice that is certain now, with its tokens if they are wanted."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)


@dataclass
class Lane:
    """What is new of one branch, for those who watch."""

    path: str
    text: str = ""
    tokens: int = 0
    is_new: bool = False  # it was born
    is_again: bool = False  # it went back: `text` is all it has
    ended: str = ""  # "done", "killed" or "dropped"


@dataclass
class News:
    """What is new of a request. News that nobody has read grow together, so that they stay small."""

    number: int
    began: int = 0  # tokens of the prompt, once it has begun
    echo: Piece | None = None  # the prompt, if that is wanted
    pieces: dict[int, Piece] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=dict)
    best: tuple[str, str | None, float | None] | None = None  # text, final answer and score of an offer
    written: int = 0  # tokens so far

    def add(self, later: News) -> None:
        """Take in later news."""
        self.began = self.began or later.began
        self.echo = self.echo or later.echo
        self.best = later.best or self.best
        self.written = max(self.written, later.written)
        for index, piece in later.pieces.items():
            mine = self.pieces.setdefault(index, Piece())
            mine.text += piece.text
            mine.tokens += piece.tokens
        for name, lane in later.lanes.items():
            self.lanes[name] = _join(self.lanes.get(name), lane)


def _join(old: Lane | None, new: Lane) -> Lane:
    if old is None:
        return new
    if new.is_again:
        old.text, old.tokens, old.is_again = new.text, new.tokens, not old.is_new
    else:
        old.text += new.text
        old.tokens += new.tokens
    old.ended = new.ended or old.ended
    return old


@dataclass(frozen=True)
class Choice:
    """One of the n answers: what was not told before of its text, and how it ended."""

    text: str
    finish: str  # "stop" or "length"
    final: str | None
    score: float | None
    rest: Piece  # what has not been streamed
    tokens: tuple[Token, ...] | None = None


@dataclass(frozen=True)
class Ended:
    """A request has its answers, or the error that ended it."""

    number: int
    choices: tuple[Choice, ...] = ()
    receipt: Mapping[str, Any] = field(default_factory=dict)
    prompt: tuple[Token, ...] | None = None
    echo: str = ""
    read: int = 0  # tokens given
    written: int = 0  # tokens sampled
    kept: int = 0  # of them: tokens of the answers
    error: str = ""
    status: int = 400  # what the error is in HTTP


@dataclass(frozen=True)
class Facts:
    """How the engine is."""

    number: int
    values: Mapping[str, float]
