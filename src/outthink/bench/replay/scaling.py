"""What more samples would bring: the law of coverage, and the ceiling of a verifier that makes mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from outthink.stats import pass_at_k

FARTHEST = 10**6  # samples, when the best number of them is looked for


class PowerLaw(NamedTuple):
    """coverage(k) = exp(-a k^-b): an exponentiated power law. Brown et al., "Large Language Monkeys"."""

    a: float
    b: float

    def __call__(self, k: float) -> float:
        return math.exp(-self.a * k**-self.b)


def fit_power_law(ks: Sequence[float], coverage: Sequence[float]) -> PowerLaw:
    """The law nearest to the coverage in least squares; by Gauss and Newton, begun with the straight line of
    log(-log coverage) over log k. ValueError without two values of k whose coverage lies inside (0, 1)."""
    points = [(float(k), c) for k, c in zip(ks, coverage, strict=True) if 0 < c < 1]
    if len({k for k, _ in points}) < 2:
        raise ValueError("a power law needs the coverage at two numbers of samples, neither 0 nor 1")
    a, b = _line([(math.log(k), math.log(-math.log(c))) for k, c in points])
    law = PowerLaw(math.exp(a), -b)
    for _ in range(100):
        moved = _improved(law, points)
        if moved == law:
            break
        law = moved
    return law


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope of the least-squares line."""
    n = len(points)
    x, y = (math.fsum(p[i] for p in points) / n for i in (0, 1))
    slope = math.fsum((p - x) * (q - y) for p, q in points) / math.fsum((p - x) ** 2 for p, _ in points)
    return y - slope * x, slope


def _improved(law: PowerLaw, points: Sequence[tuple[float, float]]) -> PowerLaw:
    """One step in (log a, b), halved until the squares fall; the same law where none does."""

    def squares(at: PowerLaw) -> float:
        return math.fsum((at(k) - c) ** 2 for k, c in points)

    rows = []
    for k, c in points:
        u = law.a * k**-law.b
        rows.append((-law(k) * u, law(k) * u * math.log(k), c - law(k)))
    aa, ab, bb = (math.fsum(r[i] * r[j] for r in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    ra, rb = (math.fsum(r[i] * r[2] for r in rows) for i in (0, 1))
    det = aa * bb - ab * ab
    if not det > 1e-300:
        return law
    da, db = (bb * ra - ab * rb) / det, (aa * rb - ab * ra) / det
    for half in range(30):
        step = 0.5**half
        moved = PowerLaw(law.a * math.exp(max(-50.0, min(50.0, step * da))), law.b + step * db)
        if squares(moved) < squares(law):
            return moved
    return law


class Verdicts(NamedTuple):
    """How a verifier judged the samples of one problem."""

    n: int
    right: int
    right_passed: int
    wrong_passed: int


class Errors(NamedTuple):
    """A verifier's rates over all samples: P(passes | right) and P(passes | wrong)."""

    true_positive: float
    false_positive: float


class Outcome(NamedTuple):
    """Drawing until the verifier passes one, at most k times: shares of problems, and samples drawn."""

    right: float
    wrong: float
    drawn: float

    def utility(self, penalty: float, price: float) -> float:
        """right - penalty * wrong - price * drawn: a wrong answer costs more than none."""
        return self.right - penalty * self.wrong - price * self.drawn


def rates(problems: Sequence[Verdicts]) -> Errors:
    """A verifier's rates. ValueError without a right and a wrong sample: they show in these only."""
    right = sum(p.right for p in problems)
    wrong = sum(p.n - p.right for p in problems)
    if not right or not wrong:
        raise ValueError("a verifier's error rates need right and wrong samples")
    return Errors(
        sum(p.right_passed for p in problems) / right, sum(p.wrong_passed for p in problems) / wrong
    )


def predicted(problems: Sequence[Verdicts], errors: Errors, k: float) -> Outcome:
    """What the error rates say of k draws, by each problem's chance p of a right sample:

    a = p * true_positive, w = (1 - p) * false_positive, q = 1 - (1 - a - w)^k
    P(right) = a / (a + w) * q     P(wrong) = w / (a + w) * q     draws = q / (a + w)
    with k = inf: the ceiling. Stroebl et al., "Inference Scaling fLaws".
    """
    shares = [p.right / p.n for p in problems]
    return _mean([_until(p * errors.true_positive, (1 - p) * errors.false_positive, k) for p in shares])


def predicted_by_problem(problems: Sequence[Verdicts], k: float) -> Outcome:
    """The same where each problem has the a and w that its own samples show: mistakes cluster in problems."""
    return _mean([_until(p.right_passed / p.n, p.wrong_passed / p.n, k) for p in problems])


def _until(a: float, w: float, k: float) -> Outcome:
    """Draws, each a right one that passes with chance a, a wrong one that passes with chance w."""
    if a + w == 0:
        return Outcome(0.0, 0.0, k)
    q = 1 - (1 - a - w) ** k
    return Outcome(a / (a + w) * q, w / (a + w) * q, q / (a + w))


def measured(problems: Sequence[Verdicts], k: int) -> Outcome:
    """The same of the recorded verdicts: exact, over draws of k without replacement."""
    return _mean([_one_measured(p, k) for p in problems])


def _one_measured(p: Verdicts, k: int) -> Outcome:
    passed = p.right_passed + p.wrong_passed
    q = pass_at_k(p.n, passed, k)
    drawn = 1 + math.fsum(1 - pass_at_k(p.n, passed, i) for i in range(1, k))
    return (
        Outcome(p.right_passed / passed * q, p.wrong_passed / passed * q, drawn)
        if passed
        else Outcome(0, 0, k)
    )


def _mean(found: Sequence[Outcome]) -> Outcome:
    right, wrong, drawn = (math.fsum(one[i] for one in found) / len(found) for i in range(3))
    return Outcome(right, wrong, drawn)


def best_number(utility: Callable[[int], float], most: int = FARTHEST) -> int:
    """The number of samples, 0 (do not ask) to `most`, with the highest utility; the smallest of equals.

    Looked for at every number up to 64, then in steps of an eighth.
    """
    ks = [0, *range(1, min(most, 64) + 1)]
    while ks[-1] < most:
        ks.append(min(most, ks[-1] + ks[-1] // 8))
    return max(ks, key=lambda k: (utility(k) if k else 0.0, -k))
