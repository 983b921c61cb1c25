"""Curves over problems: accuracy against samples and tokens, and who is best at an equal budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from outthink.bench.replay.estimate import DRAWS, Replay, Value
from outthink.bench.replay.reading import Recorded
from outthink.core.errors import BadInput
from outthink.stats import paired_bootstrap, wilson

COVERAGE = "any right (coverage)"
SINGLE = "one sample"


@dataclass(frozen=True)
class Point:
    """A selector at k samples a problem. The interval is over problems; Wilson's for the mean of values in
    [0, 1] is never too narrow. `error` is the standard error of drawing subsets, 0 where all were counted."""

    selector: str
    k: int
    accuracy: float
    low: float
    high: float
    error: float
    used: float  # samples, mean
    written: float | None  # tokens, mean; None where they were not counted
    values: tuple[float, ...]  # of each problem

    def as_dict(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "values"}


class Lead(NamedTuple):
    """The best selector that a budget buys, and how far it is ahead of plain voting there."""

    budget: float
    selector: str
    k: int
    accuracy: float
    spent: float
    baseline: str
    difference: float
    low: float
    high: float


class System(NamedTuple):
    """One of several recorded systems on its own."""

    system: str
    n: int
    accuracy: float
    low: float
    high: float


def sizes(problems: Sequence[Recorded]) -> list[int]:
    """1, 2, 4, ... and the most samples that every problem has."""
    most = min(len(own.samples) for own in problems)
    return [*(2**i for i in range(most.bit_length()) if 2**i < most), most]


def check_sizes(given: Sequence[int], problems: Sequence[Recorded]) -> list[int]:
    """The numbers of samples asked for, if every problem has so many."""
    fewest = min(problems, key=lambda own: len(own.samples))
    for k in given:
        if not 1 <= k <= len(fewest.samples):
            raise BadInput(f"k={k}: give 1 to {len(fewest.samples)}, as many as problem {fewest.id!r} has")
    return sorted(set(given))


def point(replay: Replay, k: int, draws: int = DRAWS, seed: int = 0) -> Point:
    """A selector at k samples, over all problems."""
    found = [replay.at(place, k, draws, seed) for place in range(len(replay.problems))]
    return _point(replay.name, k, found)


def _point(name: str, k: int, found: Sequence[Value]) -> Point:
    n = len(found)
    rights = tuple(value.right for value in found)
    total = math.fsum(rights)
    interval = wilson(total, n)
    error = math.sqrt(math.fsum(value.error**2 for value in found)) / n
    written = [value.written for value in found if value.written is not None]
    return Point(
        name,
        k,
        total / n,
        interval.low,
        interval.high,
        error,
        math.fsum(value.used for value in found) / n,
        math.fsum(written) / n if len(written) == n else None,
        rights,
    )


def systems(problems: Sequence[Recorded]) -> list[System]:
    """How often each recorded system is right, and how often any of them is; nothing if there is one."""
    names = dict.fromkeys(s.system for own in problems for s in own.samples)
    if len(names) < 2:
        return []
    found = []
    for name in names:
        verdicts = [
            right
            for own in problems
            for s, right in zip(own.samples, own.right, strict=True)
            if s.system == name
        ]
        found.append(_system(name, verdicts))
    return [*found, _system("any of them", [any(own.right) for own in problems])]


def _system(name: str, verdicts: Sequence[bool]) -> System:
    interval = wilson(sum(verdicts), len(verdicts))
    return System(name, len(verdicts), sum(verdicts) / len(verdicts), interval.low, interval.high)


def cost(at: Point) -> float:
    """What a point takes: tokens where they were counted, else samples."""
    return at.used if at.written is None else at.written


def leads(points: Sequence[Point], seed: int = 0) -> list[Lead]:
    """At each budget, 1, 2, 4 ... times one sample: the best that it buys, against the first selector's best.

    A selector spends at most the budget on average. The difference is paired over problems; its 95 % interval
    is a bootstrap's and does not know that the best was chosen among several.
    """
    real = [p for p in points if p.selector != COVERAGE]
    if not real:
        return []
    unit, found = min(cost(p) for p in real), []
    steps = math.ceil(math.log2(max(cost(p) for p in real) / unit) - 1e-9) + 1 if unit > 0 else 0
    for budget in (unit * 2**i for i in range(steps)):
        bought = [p for p in real if cost(p) <= budget * (1 + 1e-9)]
        base = [p for p in bought if p.selector == real[0].selector]
        if not base:
            continue
        best, plain = (max(group, key=lambda p: (p.accuracy, -cost(p))) for group in (bought, base))
        gap = paired_bootstrap(best.values, plain.values, seed, resamples=1000)
        found.append(Lead(budget, best.selector, best.k, best.accuracy, cost(best), plain.selector, *gap))
    return found
