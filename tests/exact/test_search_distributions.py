"""The distribution of what step searches answer equals the enumerated one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.problem import Problem
from outthink.core.types import Sampling
from outthink.engine.request import Request
from outthink.strategy import Beam, Dvts, Lookahead, Rebase, Tot
from outthink.testing.enumerate import enumerate_runs
from outthink.verify import Likelihood

VOCAB, LONGEST, TEMPERATURE = 3, 3, 0.9
LOGITS = hashed(VOCAB, scale=1.5, seed=7)
Table = dict[str, float]


class State(NamedTuple):
    """A text so far: its tokens and their log-probabilities."""

    tokens: tuple[int, ...] = ()
    logps: tuple[float, ...] = ()

    @property
    def ended(self) -> bool:
        return len(self.tokens) == LONGEST or 0 in self.tokens

    @property
    def score(self) -> float:
        """What likelihood() gives."""
        return sum(self.logps) / len(self.logps)

    @property
    def text(self) -> str:
        return "".join(".ab"[t] for t in self.tokens if t)


def softmax(row: Iterable[float], temperature: float) -> list[float]:
    weights = [math.exp(x / temperature) for x in row]
    return [w / sum(weights) for w in weights]


def steps(state: State, delimiter: int) -> list[tuple[State, float]]:
    """What one step more can be, with its probability: up to the delimiter, the end, or the longest text."""
    row = LOGITS((1, 2, *state.tokens))
    found: list[tuple[State, float]] = []
    for token, (p, q) in enumerate(zip(softmax(row, TEMPERATURE), softmax(row, 1.0), strict=True)):
        longer = State((*state.tokens, token), (*state.logps, math.log(q)))
        if longer.ended or token == delimiter:
            found.append((longer, p))
        else:
            found += [(end, p * rest) for end, rest in steps(longer, delimiter)]
    return found


def order(state: State) -> tuple[bool, float]:
    """Complete before cut, then by score."""
    return (state.tokens[-1] != 0, -state.score)


def populations(plan: list[tuple[State, int]], delimiter: int) -> list[tuple[list[State], float]]:
    """All that the samples of a round can be, with their probability."""
    found: list[tuple[list[State], float]] = [([], 1.0)]
    for state in (state for state, n in plan for _ in range(n)):
        found = [([*seen, new], p * q) for seen, p in found for new, q in steps(state, delimiter)]
    return found


def greedy(expand: int, delimiter: int) -> Table:
    """One tree: of `expand` samples of the next step the best goes on."""

    def below(state: State) -> Table:
        if state.ended:
            return {state.text: 1.0}
        out: Table = {}
        for seen, p in populations([(state, expand)], delimiter):
            for text, q in below(max(seen, key=lambda s: s.score)).items():
                out[text] = out.get(text, 0.0) + p * q
        return out

    return below(State())


def rebased(n: int, temperature: float, delimiter: int) -> Table:
    """Every unfinished sample gets its share of n - ended next steps."""
    out: Table = {}

    def go(plan: list[tuple[State, int]], ended: list[State], p: float) -> None:
        for seen, q in populations(plan, delimiter):
            done = [*ended, *(s for s in seen if s.ended)]
            live = [s for s in seen if not s.ended]
            if not live:
                text = min(done, key=order).text
                out[text] = out.get(text, 0.0) + p * q
                continue
            left = n - len(done)
            exact = [left * share for share in softmax([s.score for s in live], temperature)]
            counts = [math.floor(x + 1e-9) for x in exact]
            for i in sorted(range(len(live)), key=lambda i: counts[i] - exact[i])[: left - sum(counts)]:
                counts[i] += 1
            go(list(zip(live, counts, strict=True)), done, p * q)

    go([(State(), n)], [], 1.0)
    return out


def best_of(n: int) -> Table:
    """The best of n whole samples."""
    out: Table = {}
    for seen, p in populations([(State(), n)], delimiter=-1):
        text = min(seen, key=order).text
        out[text] = out.get(text, 0.0) + p
    return out


def run(strategy: Any) -> Table:
    sampling = Sampling(temperature=TEMPERATURE, max_tokens=LONGEST)
    request = Request(strategy, Problem("ab"), sampling=sampling)
    return enumerate_runs(lambda: toy(LOGITS, VOCAB, context=16), request, lambda a: a.text)


CASES: list[tuple[Any, Table]] = [
    (Beam(Likelihood(), width=1, expand=1, step="b"), best_of(1)),
    (Tot(Likelihood(), order="depth", expand=1, step="a"), best_of(1)),
    (Lookahead(Likelihood(), width=1, expand=1, k=0, step="b"), best_of(1)),
    (Dvts(Likelihood(), trees=2, expand=1, step="b"), best_of(2)),
    (Dvts(Likelihood(), trees=1, expand=2, step="b"), greedy(2, delimiter=2)),
    (Dvts(Likelihood(), trees=1, expand=2, step="a"), greedy(2, delimiter=1)),
    (Rebase(Likelihood(), n=2, temperature=0.05, select="best", step="b"), rebased(2, 0.05, delimiter=2)),
]


@pytest.mark.parametrize(("strategy", "truth"), CASES, ids=lambda v: "" if isinstance(v, dict) else repr(v))
def test_distribution(strategy: Any, truth: Table) -> None:
    found = run(strategy)
    assert math.isclose(sum(found.values()), 1.0, abs_tol=1e-9)
    assert {*found} == {*truth}
    assert all(math.isclose(found[text], truth[text], abs_tol=1e-9) for text in truth), (found, truth)


def test_the_comparison_can_fail() -> None:
    """Two samples are not one, and it matters where steps end."""
    assert best_of(1) != best_of(2) and greedy(2, delimiter=1) != greedy(2, delimiter=2)
