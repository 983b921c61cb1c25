"""An engine on a thread: the answers of an engine, whoever asks; what fails is told to who waits."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

import outthink as ot
from outthink.backends.toy import toy
from outthink.bench.solver import Outcome, Solver, Trouble
from outthink.core.errors import BadInput, PromptTooLong, UnknownName
from outthink.engine.engine import Engine
from outthink.engine.request import Request

SAMPLING = ot.Sampling(max_tokens=12)


def engine() -> Engine:
    return Engine(toy())


def requests(count: int) -> list[Request]:
    return [Request(ot.strategy.Vote(n=3), "ab", seed=seed, sampling=SAMPLING) for seed in range(count)]


@dataclass(frozen=True)
class Breaks:
    """Raises what it is given, once it runs."""

    error: BaseException

    async def __call__(self, root: ot.Branch, /) -> ot.Answer:
        raise self.error


def test_many_threads_get_the_answers_of_one_engine() -> None:
    solver, asked = Solver(engine), requests(40)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(solver.solve, asked))
    solver.close()
    alone = engine()
    for request, outcome in zip(asked, outcomes, strict=True):
        here = alone.run(request)
        there = outcome.answer
        assert there is not None and there.receipt is not None and here.receipt is not None
        assert (there.text, there.score, there.tokens) == (here.text, here.score, here.tokens)
        assert there.receipt.logical == here.receipt.logical
    assert len({o.answer.text for o in outcomes if o.answer}) > 3


def test_an_outcome_travels() -> None:
    solver = Solver(engine)
    outcome = solver.solve(requests(1)[0])
    solver.close()
    arrived = Outcome(*pickle.loads(pickle.dumps(tuple(outcome))))
    assert arrived.answer is not None and outcome.answer is not None and arrived.answer.receipt is not None
    assert arrived.answer == outcome.answer and not arrived.answer.others
    assert arrived.answer.receipt.as_dict() == outcome.answer.receipt.as_dict()  # type: ignore[union-attr]


@pytest.mark.parametrize("error", [PromptTooLong("too long"), UnknownName("model", "pocet", ["pocket"])])
def test_an_error_of_the_package_stays_what_it_is(error: BadInput) -> None:
    there = Trouble(*pickle.loads(pickle.dumps(tuple(Trouble.of(error))))).error()
    assert type(there) is type(error) and str(there) == str(error)


def test_an_error_of_another_kind_says_where_it_came_from() -> None:
    class BadInput(ot.OutthinkError):  # not the one of core.errors
        pass

    for error in (ZeroDivisionError("at home"), BadInput("of another house")):
        there = Trouble.of(error).error()
        assert type(there) is RuntimeError and str(error) in str(there)


def test_one_requests_error_is_its_own() -> None:
    solver, good = Solver(engine), requests(1)[0]
    broken = replace(good, strategy=Breaks(BadInput("no")))
    empty = replace(good, problem=" ")
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(solver.solve, [broken, good, empty]))
    solver.close()
    assert [o.trouble and o.trouble.said for o in outcomes] == ["no", None, "the prompt is empty"]


def test_what_loading_raises_is_raised() -> None:
    def load() -> Engine:
        raise BadInput("no such model")

    with pytest.raises(BadInput, match="no such model"):
        Solver(load)


def test_an_engine_that_fails_leaves_nobody_waiting() -> None:
    made = engine()

    def turn() -> None:
        raise RuntimeError("the engine broke")

    made.turn = turn  # type: ignore[method-assign]
    solver = Solver(lambda: made)
    for said in ("the engine broke", "the engine has ended"):
        with pytest.raises(RuntimeError, match=said):
            solver.solve(requests(1)[0])
        solver._thread.join(10)
