"""A scripted toy model, a problem for it, and what a run must not change: shared by several tests."""

from __future__ import annotations

from typing import Any

from outthink.backends.toy import ALPHABET, scripted, toy
from outthink.core.problem import Problem, Secret
from outthink.core.types import Answer, Budget, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy.adaptive_vote import AdaptiveVote
from outthink.strategy.best_of_n import BestOfN
from outthink.strategy.greedy import Greedy
from outthink.strategy.once import Once
from outthink.strategy.short import Short
from outthink.strategy.vote import Vote
from outthink.strategy.weighted_vote import WeightedVote
from outthink.verify.certainty import Certainty
from outthink.verify.exact import Exact
from outthink.verify.likelihood import Likelihood

TABLE = {
    "Q": {"\n": 1.0},
    "Q\n": {"A": 1.0},
    "\nA": {":": 1.0},
    "A:": {"1": 0.4, "2": 0.3, "3": 0.3},
    "1": {".": 1.0},
    "2": {".": 0.5, "2": 0.5},
    "3": {".": 0.2, "1": 0.2, "2": 0.6},
}
PROBLEM = Problem("Q", secret=Secret(reference="1"))
STRATEGIES: list[Any] = [
    Once(),
    Greedy(),
    Vote(n=6),
    Short(m=2, k=6),
    AdaptiveVote(n=16, wave=3),
    WeightedVote(Exact(), n=5),
    WeightedVote(Likelihood(), n=5, weight="exp"),
    BestOfN(Certainty(), n=5),
    BestOfN(Exact(), n=3, inner=Vote(n=2)),
    Vote(n=3, inner=Short(m=1, k=2)),
]
SHAPES = [(1, 1, 4000), (3, 5, 4000), (2, 7, 40), (300, 3, 64)]  # max_batch, max_rows, slots


def engine(max_batch: int = 256, max_rows: int = 512, slots: int = 4000) -> Engine:
    backend = toy(scripted(TABLE, len(ALPHABET)), vocab=len(ALPHABET), context=40)
    return Engine(backend, slots=slots, max_batch=max_batch, max_rows=max_rows)


def ask(strategy: Any, budget: Budget, seed: int = 3) -> Request:
    return Request(strategy, PROBLEM, budget, seed, Sampling(temperature=1.0))


def told(answer: Answer) -> tuple[Any, ...]:
    assert answer.receipt is not None
    return (
        answer.text,
        answer.final,
        answer.score,
        answer.tokens,
        answer.receipt.finish,
        answer.receipt.logical,
    )
