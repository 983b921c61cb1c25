"""What papers say of these strategies, and what was measured here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from benchmarks.strategies.comparing import (
    FAILS,
    Point,
    Ratio,
    Results,
    at_least,
    better,
    difference,
    no_worse,
    token_ratio,
)
from benchmarks.strategies.parts import ORACLES, SIDE_BY_SIDE

SMALL = (4, 8)
VOTE = "vote"


class Finding(NamedTuple):
    """One measurement about a claim."""

    claim: str
    setting: str  # verifier and budgets
    measured: str
    verdict: str


def findings(results: Results, head: str = "") -> list[Finding]:
    """Every claim, under every verifier that it was measured with."""
    verifiers = [v for v in (*ORACLES, *([head] if head else [])) if results.curve("best_of_n", v)]
    parts: tuple[Callable[[Results, Sequence[str]], Iterator[Finding]], ...] = (
        a_star, particles, perplexity, short, set_cover, entropic, majority,
    )  # fmt: skip
    return [finding for part in parts for finding in part(results, sorted(verifiers))]


def a_star(results: Results, verifiers: Sequence[str]) -> Iterator[Finding]:
    """How many tokens best of n needs for the accuracy of A*."""
    claim = "A* reaches best-of-N's accuracy with up to 3x fewer tokens"
    for verifier in verifiers:
        own, rival = results.curve("a_star", verifier), results.curve("best_of_n", verifier)
        for multiple in _some(own, (8, 64)):
            ratio = token_ratio(own[multiple], list(rival.values()))
            point = own[multiple]
            spent = fmean(point.spent)
            told = f"{_point(point)} with {spent:.1f} samples' tokens; best of n needs {_ratio(ratio)}"
            verdict = at_least(1.0)(ratio.low, ratio.high)
            yield Finding(claim, f"{verifier}, cap {multiple}x", told, verdict)


def particles(results: Results, verifiers: Sequence[str]) -> Iterator[Finding]:
    """How many tokens deterministic search needs for the accuracy of particles."""
    claim = "particles scale 4 to 16x better than deterministic search"
    for verifier in verifiers:
        own = results.curve("particles", verifier)
        for rival in ("beam", "dvts"):
            curve = results.curve(rival, verifier)
            for multiple in _some(own, (4, 16)):
                ratio = token_ratio(own[multiple], list(curve.values()))
                told = f"{_point(own[multiple])}; {rival} needs {_ratio(ratio)}"
                verdict = at_least(4.0)(ratio.low, ratio.high)
                yield Finding(claim, f"{verifier}, {multiple}x against {rival}", told, verdict)


def perplexity(results: Results, verifiers: Sequence[str]) -> Iterator[Finding]:
    """Against a vote of twice as many samples."""
    claim = "perplexity consistency halves the samples of self-consistency"
    vote = results.curve(VOTE, "")
    for name in ("perplexity_consistency", "perplexity_consistency, unpruned"):
        own = results.curve(name, "")
        pairs = [(own[m], vote[2 * m]) for m in own if m >= 4 and 2 * m in vote]
        if pairs:
            yield _difference(
                claim, f"{name} with n samples against vote with 2n, n = 4 to 32", pairs, no_worse
            )


def short(results: Results, verifiers: Sequence[str]) -> Iterator[Finding]:
    """Against the vote at the same budget, where its saving is spent on more samples."""
    claim = "short-m@k is no worse than voting with fewer tokens"
    vote = results.curve(VOTE, "")
    for name in ("short, m=1", "short, m=3"):
        own = results.curve(name, "")
        pairs = [(own[m], vote[m]) for m in own if m >= 8 and m in vote]
        if pairs:
            yield _difference(claim, f"{name} against vote, 8x and more", pairs, no_worse)


def set_cover(results: Results, verifiers: Sequence[str]) -> Iterator[Finding]:
    """Against a vote of the same samples."""
    claim = "set-cover pruning saves 10 to 35 % of the tokens"
    own, vote = results.curve("set_cover", ""), results.curve(VOTE + SIDE_BY_SIDE, "")
    for multiple in _some(own, (4, 8, 16, 64)):
        if multiple not in vote:
            continue
        saved = 1 - fmean(own[multiple].spent) / fmean(vote[multiple].spent)
        gap = difference([(own[multiple], vote[multiple])])
        keeps = no_worse(gap.low, gap.high)
        verdict = FAILS if saved < 0.1 else keeps
        told = f"{saved:.0%} of the tokens saved; accuracy {_gap(gap)} points to the vote of the same samples"
        yield Finding(claim, f"set_cover at {multiple}x", told, verdict)


def entropic(results: Results, verifiers: Sequence[str]) -> Iterator[Finding]:
    """Against particles at the same small budgets."""
    claim = "entropic particles beat particles at small budgets"
    for verifier in verifiers:
        rival = results.curve("particles", verifier)
        for name in ("entropic_particles", "entropic_particles, unbiased"):
            own = results.curve(name, verifier)
            pairs = [(own[m], rival[m]) for m in SMALL if m in own and m in rival]
            if pairs:
                yield _difference(claim, f"{name}, {verifier}, mean of 4x and 8x", pairs, better)


def majority(results: Results, verifiers: Sequence[str]) -> Iterator[Finding]:
    """The largest budget against 8 samples."""
    claim = "best-of-majority does not fall as N grows"
    for verifier in verifiers:
        for name in ("best_of_majority", "best_of_n"):
            own = results.curve(name, verifier)
            if 8 in own and 64 in own:
                about = claim if name == "best_of_majority" else "(best of n beside it)"
                yield _difference(about, f"{name}, {verifier}, 64x less 8x", [(own[64], own[8])], no_worse)


def _difference(
    claim: str, setting: str, pairs: list[tuple[Point, Point]], judge: Callable[[float, float], str]
) -> Finding:
    gap = difference(pairs)
    means = " against ".join(f"{100 * fmean(p[side].accuracy for p in pairs):.0f} %" for side in (0, 1))
    return Finding(claim, setting, f"{means}: {_gap(gap)} points", judge(gap.low, gap.high))


def _some(curve: dict[int, Point], multiples: Sequence[int]) -> list[int]:
    """Of these budgets those that were run; the largest run stands for what is above it."""
    return sorted({max((m for m in curve if m <= wanted), default=0) for wanted in multiples} - {0})


def _point(point: Point) -> str:
    return f"{100 * point.accuracy:.0f} %"


def _gap(gap: tuple[float, float, float]) -> str:
    middle, low, high = (100 * value for value in gap)
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def _ratio(ratio: Ratio) -> str:
    middle = f"more than {ratio.least:.1f}x" if math.isinf(ratio.value) else f"{ratio.value:.1f}x"
    high = "more than was run" if math.isinf(ratio.high) else f"{ratio.high:.1f}x"
    return f"{middle} the tokens [{ratio.low:.1f}x, {high}]"
