"""What a run answers and what it costs do not depend on batch, chunk, cache or company."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from scripted import SHAPES, STRATEGIES, ask, engine, told

from outthink.core.types import Budget
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote
from outthink.testing.scripted import scripted


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
        assert receipt.logical.positions == receipt.actual.positions, strategy
        assert receipt.logical.flops == receipt.actual.flops, strategy
        assert receipt.logical.written == receipt.actual.written, strategy


def test_positions_are_distinct_tokens() -> None:
    """64 samples of a prompt evaluate each distinct token once, in logic and in fact."""
    one = engine()
    answer = one.run(ask(Vote(n=64), Budget()))
    assert answer.receipt is not None
    assert answer.receipt.actual.positions == answer.receipt.logical.positions == one.main.backend.model.rows


def test_company_that_arrives_later_delays_nobody() -> None:
    """No request waits for others to fill its batch, however they keep coming: it takes its own passes."""

    class Passes(Trace):
        count = 0

        def passed(self, info: Any) -> None:
            self.count += 1

    def first_of(stream: Iterator[Request]) -> int:
        passes = Passes()
        lm = Engine(scripted(lambda question: {"A: 1": 1.0}), trace=passes)
        next(iter(lm.map(stream)))
        return passes.count

    alone = first_of(iter([Request(Once(), "q")]))
    assert first_of(Request(Once(), f"q{i}") for i in itertools.count()) <= alone + 1
