"""What a run cost, and what it did to cost that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from outthink.core.types import Sampling


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
