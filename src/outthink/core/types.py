"""Frozen data that crosses the seams: what is asked of a model, what it costs, what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Flag, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outthink.core.branch import Branch
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


@dataclass(slots=True)
class Cost:
    """What was spent. Mutable only inside the ledger; a receipt holds copies."""

    written: int = 0  # every token sampled, kept or not
    read: int = 0  # tokens given, not sampled: prompts, forced text
    positions: int = 0  # rows that a model evaluated
    passes: int = 0  # forward passes in which this run had a row
    flops: float = 0.0  # analytic, from the configuration
    bytes: float = 0.0  # weights and cache moved, a pass's weights split by rows
    seconds: float = 0.0
    dollars: float = 0.0
    discarded: int = 0  # of `written`: tokens of branches that were killed or cut
    verified: int = 0  # candidates given to a verifier
    cache_bytes: float = 0.0  # the most cache held at one time

    def add(self, other: Cost) -> None:
        """Add `other` to this; the cache figure is a peak, so it takes the maximum."""
        self.written += other.written  # written out: this runs for every pass
        self.read += other.read
        self.positions += other.positions
        self.passes += other.passes
        self.flops += other.flops
        self.bytes += other.bytes
        self.seconds += other.seconds
        self.dollars += other.dollars
        self.discarded += other.discarded
        self.verified += other.verified
        self.cache_bytes = max(self.cache_bytes, other.cache_bytes)

    def copy(self) -> Cost:
        return replace(self)

    def as_dict(self) -> dict[str, float]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


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
class Draft:
    """A token tree below a tip: parents first, -1 is the tip.

    `parents[i] < i`. A chain is parents = (-1, 0, 1, ...). `conf[i]` is how likely the drafter holds node i
    to be accepted once its parent is; `dists[i]` the log-probabilities that node i was drawn from, for rules
    that weigh them. Both are empty where they are not known. Raises ValueError for anything else.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    conf: tuple[float, ...] = ()
    dists: tuple[Any, ...] = ()
    by: str = ""  # the drafter

    def __post_init__(self) -> None:
        n = len(self.tokens)
        if len(self.parents) != n:
            raise ValueError(f"a draft of {n} tokens has {len(self.parents)} parents")
        if len(self.conf) not in (0, n) or len(self.dists) not in (0, n):
            raise ValueError(f"a draft of {n} tokens has {len(self.conf)} conf and {len(self.dists)} dists")
        for i, parent in enumerate(() if self.is_chain else self.parents):
            if not -1 <= parent < i:
                raise ValueError(f"draft node {i} has parent {parent}; parents come first, -1 is the tip")

    @classmethod
    def chain(cls, tokens: Sequence[int], conf: Sequence[float] = (), by: str = "") -> Draft:
        return cls(tuple(tokens), tuple(range(-1, len(tokens) - 1)), tuple(conf), by=by)

    @property
    def is_chain(self) -> bool:
        """Whether every node is the parent of the next."""
        return self.parents == tuple(range(-1, len(self.parents) - 1))

    def keep(self, nodes: Sequence[int]) -> Draft:
        """The same with only these nodes, ascending, each with its parent among them."""
        place = {node: i for i, node in enumerate(nodes)} | {-1: -1}
        return Draft(
            tuple(self.tokens[i] for i in nodes),
            tuple(place[self.parents[i]] for i in nodes),
            tuple(self.conf[i] for i in nodes) if self.conf else (),
            tuple(self.dists[i] for i in nodes) if self.dists else (),
            self.by,
        )


def path_probabilities(draft: Draft) -> list[float]:
    """How likely each node is to be accepted: the product of `conf` down its path."""
    out: list[float] = []
    for conf, parent in zip(draft.conf, draft.parents, strict=True):
        out.append(conf * (out[parent] if parent >= 0 else 1.0))
    return out


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
        for ok, message in self._checks():
            if not ok:
                raise ValueError(message)

    def _checks(self) -> tuple[tuple[bool, str], ...]:
        return (
            (
                _finite(self.temperature) and self.temperature >= 0,
                f"temperature={self.temperature}: give 0 or more",
            ),
            (
                self.max_tokens is None or self.max_tokens >= 1,
                f"max_tokens={self.max_tokens}: give at least 1",
            ),
            (self.top_k >= 0, f"top_k={self.top_k}: give 0 (all) or more"),
            (0 < self.top_p <= 1, f"top_p={self.top_p}: give a probability above 0, at most 1"),
            (0 <= self.min_p <= 1, f"min_p={self.min_p}: give a probability from 0 to 1"),
            (
                _finite(self.repetition_penalty) and self.repetition_penalty > 0,
                "repetition_penalty: give above 0",
            ),
            (
                _finite(self.presence_penalty) and _finite(self.frequency_penalty),
                "penalties: give finite numbers",
            ),
            (
                not isinstance(self.stop, str) and all(self.stop),
                f"stop={self.stop!r}: give a tuple of non-empty texts",
            ),
            (all(not math.isnan(b) for _, b in self.logit_bias), "logit_bias: a bias is not a number"),
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
class Degradation:
    """Something that was less than asked for, said once on the receipt."""

    what: str
    why: str


@dataclass(slots=True)
class Drafting:
    """What one drafter did in a run: the actual book of speculation."""

    steps: int = 0  # checked drafts
    drafted: int = 0  # tokens that it proposed
    checked: int = 0  # of these, the rows that the model evaluated
    accepted: int = 0  # of these, the tokens that were written
    seconds: float = 0.0  # making drafts
    bytes: float = 0.0  # moved for making them, where a model drafts
    state_bytes: float = 0.0  # the most that it remembered
    is_warm: bool = False  # whether it knew something before the run

    def as_dict(self) -> dict[str, float]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an answer cost. `logical`: no speculation, cold cache, each distinct token once; `actual`: what
    was computed.

    `config` and `seed` together reproduce the answer.
    """

    logical: Cost
    actual: Cost
    by_scope: Mapping[str, Cost] = field(default_factory=dict)  # the logical book by named block
    finish: str = "done"  # done, or what ended it: "budget: written=500 in run/think"
    wall: float = 0.0  # seconds from start to answer, whatever else ran
    config: str = ""
    model: str = ""
    machine: str = ""  # what the last bits may depend on: type, device, threads
    deterministic: bool = False  # the same bits in any batch, as asked for and checked at load
    seed: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    best_effort: bool = False  # a remote's chance cannot be promised
    estimated: tuple[str, ...] = ()  # which of the numbers were not measured, and how they were counted
    degradations: tuple[Degradation, ...] = ()
    speculation: Mapping[str, Drafting] = field(default_factory=dict)  # by drafter
    drawn_per_row: float = 1.0  # tokens written per place in a pass: above 1 with speculation

    def __str__(self) -> str:
        """One line; `as_dict` has all of it."""
        asked, spent = self.logical, self.actual
        return (
            f"{self.config}, seed {self.seed}, on {self.model}: {asked.written} tokens written, "
            f"{asked.positions} positions, {spent.passes} passes, {self.wall:.2f} s; {self.finish}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "logical": self.logical.as_dict(),
            "actual": self.actual.as_dict(),
            "by_scope": {name: cost.as_dict() for name, cost in self.by_scope.items()},
            "finish": self.finish,
            "wall": self.wall,
            "config": self.config,
            "model": self.model,
            "machine": self.machine,
            "deterministic": self.deterministic,
            "seed": self.seed,
            "best_effort": self.best_effort,
            "estimated": list(self.estimated),
            "degradations": [f"{d.what}: {d.why}" for d in self.degradations],
            "speculation": {name: drafting.as_dict() for name, drafting in self.speculation.items()},
            "drawn_per_row": self.drawn_per_row,
        }


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
