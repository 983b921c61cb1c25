"""Frozen data that crosses the seams: what is asked of a model, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Flag, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outthink.core.branch import Branch
    from outthink.core.receipt import Receipt
    from outthink.core.samples import Sampled


class Can(Flag):
    """What a backend is able to do; strategies state what they need."""

    GENERATE = auto()  # write text
    LOGPROBS = auto()  # log-probabilities of what it wrote
    STATS = auto()  # statistics of whole distributions (entropy, self-certainty)
    SCORE = auto()  # log-probability of a forced continuation
    PEEK = auto()  # evaluate without committing
    TREE = auto()  # several continuations in one pass, prefix shared
    REWIND = auto()  # go back and write something else
    HIDDEN = auto()  # the hidden state behind a token
    LOCAL = GENERATE | LOGPROBS | STATS | SCORE | PEEK | TREE | REWIND | HIDDEN


@dataclass(frozen=True, slots=True)
class Budget:
    """Caps on a run or a block; None is no cap. Tokens are never overspent.

    `written`, `positions` and `flops` bind on the logical book, so what they buy does not depend on the
    schedule; `passes`, `seconds` and `dollars` bind on what this run really used.
    """

    written: int | None = None
    positions: int | None = None
    passes: int | None = None
    flops: float | None = None
    seconds: float | None = None
    dollars: float | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            cap = getattr(self, f.name)
            if cap is None:
                continue
            if not isinstance(cap, (int, float)) or isinstance(cap, bool) or math.isnan(cap):
                raise ValueError(f"budget {f.name}={cap!r} is not a number")
            if cap <= 0:
                raise ValueError(
                    f"budget {f.name}={cap} buys nothing: give more than 0, or leave it out for no cap"
                )
            if f.name in ("written", "positions", "passes") and not isinstance(cap, int):
                raise ValueError(f"budget {f.name}={cap} is a count: give a whole number")

    def caps(self) -> dict[str, float]:
        """The caps that are set."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}

    def __bool__(self) -> bool:
        return bool(self.caps())


@dataclass(frozen=True, slots=True)
class Want:
    """What is wanted of a row: the backend reduces, so that a full row leaves it only when asked for.

    A hidden state is wanted alone: its pass computes no logits. ValueError if it is not.
    """

    top: int = 0  # the k likeliest tokens with their log-probabilities
    token: int | None = None  # the log-probability of this next token
    stats: tuple[str, ...] = ()  # "entropy", "certainty", "varentropy", "max"
    row: bool = False  # every log-probability
    hidden: bool = False  # the output of the model's last norm

    def __post_init__(self) -> None:
        if self.hidden and (self.top or self.token is not None or self.stats or self.row):
            raise ValueError("a hidden state is read alone: ask for the rest in a Want of its own")

    def __bool__(self) -> bool:
        return bool(self.top or self.token is not None or self.stats or self.row or self.hidden)


@dataclass(frozen=True, slots=True)
class Dist:
    """The reduced distribution after a position. Natural logarithms, before any warp; float."""

    top: tuple[tuple[int, float], ...] = ()
    logprob: float | None = None
    stats: Mapping[str, float] = field(default_factory=dict)
    row: tuple[float, ...] | None = None
    hidden: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a branch writes. `warps` see the exact prefix of each row, always, in the order given.

    A token is drawn as argmax of log p / temperature + Gumbel noise (temperature 0: argmax), after all warps.
    """

    temperature: float = 0.8
    max_tokens: int | None = None  # None: up to the model's context
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()
    keep_stop: bool = False  # whether the stop text stays on the branch
    ignore_eos: bool = False
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    warps: tuple[Any, ...] = ()  # further warps, applied first
    stats: tuple[str, ...] = ()  # statistics to record for every written token

    def __post_init__(self) -> None:
        for ok, hint, name in self._checks():
            if not ok:
                raise ValueError(f"{name}={getattr(self, name)!r}: give {hint}")

    def _checks(self) -> tuple[tuple[bool, str, str], ...]:
        """(Whether it is so, what to give, the field): no message is made unless it is needed."""
        return (
            (_finite(self.temperature) and self.temperature >= 0, "0 or more", "temperature"),
            (self.max_tokens is None or self.max_tokens >= 1, "at least 1", "max_tokens"),
            (self.top_k >= 0, "0 (all) or more", "top_k"),
            (0 < self.top_p <= 1, "a probability above 0, at most 1", "top_p"),
            (0 <= self.min_p <= 1, "a probability from 0 to 1", "min_p"),
            (
                _finite(self.repetition_penalty) and self.repetition_penalty > 0,
                "a number above 0",
                "repetition_penalty",
            ),
            (_finite(self.presence_penalty), "a finite number", "presence_penalty"),
            (_finite(self.frequency_penalty), "a finite number", "frequency_penalty"),
            (not isinstance(self.stop, str) and all(self.stop), "a tuple of non-empty texts", "stop"),
            (not any(math.isnan(b) for _, b in self.logit_bias), "numbers", "logit_bias"),
        )


def _finite(x: float) -> bool:
    return isinstance(x, (int, float)) and math.isfinite(x)


@dataclass(frozen=True, slots=True)
class Finish:
    """How a stretch of writing ended: `reason` is "eos", "stop" (a stop text or token) or "length"."""

    reason: str
    text: str  # what was written, stop text left out unless it was to be kept
    tokens: int  # how many tokens were sampled
    logprob: float  # the sum of their log-probabilities, before warps
    stopped_on: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """A verifier's word on one candidate: higher is better. `steps` are one value a step where it judges
    steps.

    A value of -inf is no word at all (a verdict that cannot be read, a test that is broken): it ranks below
    every score and weighs nothing.
    """

    value: float
    steps: tuple[float, ...] = ()
    passed: bool | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A strategy's answer. `final` is the short answer found in `text`, None where there is none.

    `estimates` are the numbers that a strategy found beside it, by name (such as log_z).
    """

    text: str
    final: str | None = None
    score: float | None = None
    finish: str = ""
    tokens: int = 0
    logprob: float | None = None  # of all that was written, natural, before warps; None where not known
    stats: Mapping[str, Sequence[float]] = field(default_factory=dict, repr=False, compare=False)  # by token
    others: tuple[Answer, ...] = field(default=(), repr=False)
    estimates: Mapping[str, float] = field(default_factory=dict, repr=False, hash=False)
    branch: Branch | None = field(default=None, repr=False, compare=False)
    receipt: Receipt | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something for a verifier to judge. `branch` is None under replay."""

    text: str
    problem: Any = None  # core.problem.Problem
    final: str | None = None
    tokens: tuple[int, ...] | None = None
    branch: Branch | None = None
    sampled: Sampled | None = None  # what was recorded: under replay, or of a branch that is closed by now
