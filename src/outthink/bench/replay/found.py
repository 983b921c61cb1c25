"""Replay a file: what was recorded, the curves of the selectors, and the analysis of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from outthink.bench.replay import scaling
from outthink.bench.replay.curves import (
    COVERAGE,
    Lead,
    Point,
    System,
    check_sizes,
    leads,
    point,
    sizes,
    systems,
)
from outthink.bench.replay.estimate import DRAWS, judge_recorded, prepare
from outthink.bench.replay.reading import Recorded, read
from outthink.core.errors import BadInput
from outthink.core.types import Score

PASSES = 0.5  # a score that passes, where the verifier does not say whether it does


class Law(NamedTuple):
    """The power law of coverage, fitted on small k, against the coverage measured at all k."""

    a: float
    b: float
    fitted: tuple[int, ...]  # the numbers of samples that it was fitted on
    held_out: tuple[tuple[int, float, float, float, float], ...]  # k, law, measured, low, high

    def __call__(self, k: float) -> float:
        return scaling.PowerLaw(self.a, self.b)(k)


class Passing(NamedTuple):
    """Drawing until the verifier passes one, at most k samples."""

    k: int
    predicted: scaling.Outcome
    measured: scaling.Outcome


class Flaws(NamedTuple):
    """What a verifier's mistakes do to drawing until it passes one."""

    verifier: str
    rates: scaling.Errors
    ceiling: scaling.Outcome  # predicted, at any number of samples
    ceiling_by_problem: scaling.Outcome  # the same with the rates that each problem's own samples show
    curve: tuple[Passing, ...]
    penalty: float
    price: float
    best_predicted: int
    best_measured: int  # among the numbers of samples that were recorded


@dataclass(frozen=True)
class Asked:
    """What a replay is asked."""

    selectors: Mapping[str, Any]
    ks: tuple[int, ...] = ()
    draws: int = DRAWS
    seed: int = 0
    analyse: bool = False
    verifier: Any = None
    penalty: float = 1.0
    price: float = 0.0

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise BadInput(f"draws={self.draws}: give at least 2")
        for name in ("penalty", "price"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadInput(f"{name}={getattr(self, name)}: give 0 or more")
        if self.verifier is not None and not self.analyse:
            raise BadInput("--verifier is for --analyse; selectors name their own")


@dataclass(frozen=True)
class Found:
    """What a replay found."""

    file: str
    problems: int
    fewest: int  # samples of a problem
    most: int
    systems: list[System]
    points: list[Point]
    leads: list[Lead]
    law: Law | None = None
    flaws: Flaws | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "file": self.file,
            "problems": self.problems,
            "samples": [self.fewest, self.most],
            "systems": [s._asdict() for s in self.systems],
            "curves": [p.as_dict() for p in self.points],
            "equal_budget": [lead._asdict() for lead in self.leads],
            "coverage_law": self.law and self.law._asdict(),
            "flawed_verifier": self.flaws and _flaws_dict(self.flaws),
            "notes": list(self.notes),
        }


def _flaws_dict(flaws: Flaws) -> dict[str, Any]:
    curve = [
        {"k": p.k, "predicted": p.predicted._asdict(), "measured": p.measured._asdict()} for p in flaws.curve
    ]
    told = {"rates": flaws.rates._asdict(), "curve": curve}
    ceilings = {name: getattr(flaws, name)._asdict() for name in ("ceiling", "ceiling_by_problem")}
    return flaws._asdict() | told | ceilings


def replay(path: Path, asked: Asked) -> Found:
    """Evaluate selectors on the samples of a file. BadInput names the file, the line and the field."""
    problems = read(path)
    ks = check_sizes(asked.ks, problems) if asked.ks else sizes(problems)
    points = []
    for name, selector in {**asked.selectors, COVERAGE: None}.items():
        prepared = prepare(name, selector, problems, str(path))
        points += [point(prepared, k, asked.draws, asked.seed) for k in ks]
    law, notes = _law([p for p in points if p.selector == COVERAGE]) if asked.analyse else (None, ())
    counts = [len(own.samples) for own in problems]
    return Found(
        str(path),
        len(problems),
        min(counts),
        max(counts),
        systems(problems),
        points,
        leads(points, asked.seed),
        law,
        _flaws(asked, problems, str(path)) if asked.verifier is not None else None,
        notes,
    )


def _law(coverage: Sequence[Point]) -> tuple[Law | None, tuple[str, ...]]:
    """The law fitted on the k up to a quarter of the largest; on all where that are too few to fit."""
    inside = [p for p in coverage if 0 < p.accuracy < 1]
    small = [p for p in inside if 4 * p.k <= coverage[-1].k]
    fitted = small if len(small) >= 2 else inside
    if len(fitted) < 2:
        return None, ("no power law: coverage lies inside (0, 1) at fewer than two numbers of samples",)
    law = scaling.fit_power_law([p.k for p in fitted], [p.accuracy for p in fitted])
    rest = [p for p in coverage if p not in fitted]
    held_out = tuple((p.k, law(p.k), p.accuracy, p.low, p.high) for p in rest)
    return Law(law.a, law.b, tuple(p.k for p in fitted), held_out), ()


def _flaws(asked: Asked, problems: Sequence[Recorded], path: str) -> Flaws:
    """The verifier's word on every sample, and what follows from it."""
    verdicts = [_verdicts(asked.verifier, own, path) for own in problems]
    try:
        errors = scaling.rates(verdicts)
    except ValueError as error:
        raise BadInput(f"{path!r}: {error}") from None
    most = min(v.n for v in verdicts)
    curve = tuple(
        Passing(k, scaling.predicted(verdicts, errors, k), scaling.measured(verdicts, k))
        for k in sizes(problems)
    )

    def expected(k: int) -> float:
        return scaling.predicted(verdicts, errors, k).utility(asked.penalty, asked.price)

    def seen(k: int) -> float:
        return scaling.measured(verdicts, k).utility(asked.penalty, asked.price)

    return Flaws(
        repr(asked.verifier),
        errors,
        scaling.predicted(verdicts, errors, math.inf),
        scaling.predicted_by_problem(verdicts, math.inf),
        curve,
        asked.penalty,
        asked.price,
        scaling.best_number(expected),
        scaling.best_number(seen, most),
    )


def _verdicts(verifier: Any, own: Recorded, path: str) -> scaling.Verdicts:
    """How the verifier judges one problem's samples."""
    try:
        scores = judge_recorded(verifier, [(s, own) for s in own.samples])
    except BadInput as error:
        raise BadInput(f"{path!r} line {own.lines[0]}: {error}") from None
    passed = list(map(_passes, scores))
    return scaling.Verdicts(
        len(passed),
        sum(own.right),
        sum(p and r for p, r in zip(passed, own.right, strict=True)),
        sum(p and not r for p, r in zip(passed, own.right, strict=True)),
    )


def _passes(score: Score) -> bool:
    return score.value >= PASSES if score.passed is None else score.passed
