"""What a run answers and what it costs do not depend on batch, chunk, cache or company."""

from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@pytest.mark.parametrize(
    "budget", [Budget(), Budget(written=17), Budget(positions=12), Budget(written=1)], ids=repr
)
def test_same_answer_and_logical_cost_in_any_batch(strategy: Any, budget: Budget) -> None:
    alone = told(engine().run(ask(strategy, budget)))
    for shape in SHAPES:
        one = engine(*shape)
        assert told(one.run(ask(strategy, budget))) == alone, shape
        one.main.tree.check()
        assert not any(node.cursors for node in one.main.tree.nodes())


def test_same_answers_in_company() -> None:
    requests = [ask(strategy, Budget(), seed) for strategy in STRATEGIES for seed in range(3)]
    alone = [told(engine().run(r)) for r in requests]
    for concurrency in (2, 30):
        shared = engine(max_batch=7)
        together = {id(d.request): told(d.answer) for d in shared.map(requests, concurrency) if d.answer}
        assert [together[id(r)] for r in requests] == alone
        shared.main.tree.check()
        assert not shared.trampoline.live and not shared.runs and not shared.limits.line


def test_seeds_differ() -> None:
    assert len({engine().run(ask(Once(), Budget(), seed)).text for seed in range(20)}) > 2


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_written_is_never_overspent(strategy: Any) -> None:
    for cap in range(1, 40, 3):
        answer = engine().run(ask(strategy, Budget(written=cap)))
        assert answer.receipt is not None
        assert answer.receipt.logical.written <= cap
        assert answer.receipt.actual.written <= cap


def test_the_two_books_agree_on_a_cold_engine() -> None:
    """Without a warm cache or speculation, what is asked for is what is computed."""
    for strategy in STRATEGIES:
        one = engine()
        prices = one.main.prices._replace(flops_row=3.0, flops_head=7.0, flops_context=0.5)
        one.main.prices = prices
        one.main.backend.about = one.main.backend.about._replace(prices=prices)
        receipt = one.run(ask(strategy, Budget())).receipt
        assert receipt is not None
        if not isinstance(strategy, AdaptiveVote):  # waves draw from the prompt's last row again
            assert receipt.logical.positions == receipt.actual.positions, strategy
            assert receipt.logical.flops == receipt.actual.flops, strategy
        assert receipt.logical.written == receipt.actual.written, strategy


def test_positions_are_distinct_tokens() -> None:
    """64 samples of a prompt evaluate each distinct token once, in logic and in fact."""
    one = engine()
    answer = one.run(ask(Vote(n=64), Budget()))
    assert answer.receipt is not None
    assert answer.receipt.actual.positions == answer.receipt.logical.positions == one.main.backend.model.rows
