"""Calling a verifier: every way in which it can go wrong has one defined outcome, and its cost is on the
receipt."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from outthink.core.errors import BadInput, Misuse, VerifierFailed
from outthink.core.tasks import offload
from outthink.core.types import Budget, Candidate, Sampling, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import BestOfN, WeightedVote
from outthink.testing.scripted import scripted


def sleep(seconds: float) -> None:
    import time

    time.sleep(seconds)


def fail() -> None:
    raise ZeroDivisionError("division by zero")


@dataclass(frozen=True)
class Says:
    """A verifier that returns what it is told to."""

    word: Callable[[Sequence[Candidate]], Any]
    seconds: float | None = None
    records = ()

    async def __call__(self, candidates: Sequence[Candidate], /) -> Any:
        found = self.word(candidates)
        return await found if asyncio.iscoroutine(found) else found


def run(verifier: Any, strategy: Any = None, **budget: Any) -> Any:
    engine = Engine(scripted(lambda question: {"A: 1": 0.5, "A: 2": 0.5}))
    request = Request(
        strategy or BestOfN(verifier, n=2), "q", Budget(**budget), sampling=Sampling(temperature=1.0)
    )
    return engine.run(request)


WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda cs: 1 / 0, VerifierFailed, "raised ZeroDivisionError: division by zero"),
    (lambda cs: offload(fail, io=True), VerifierFailed, "raised ZeroDivisionError"),
    (lambda cs: [Score(math.nan)], Misuse, "not a score"),
    (lambda cs: [Score(0.5, (0.5, math.nan))], Misuse, "not a score"),
    (lambda cs: [], Misuse, "0 scores for 1 candidates"),
    (lambda cs: [Score(1.0), Score(1.0)], Misuse, "2 scores for 1 candidates"),
    (lambda cs: [0.5], Misuse, "0.5, which is not a score"),
    (lambda cs: [None], Misuse, "not a score"),
    (lambda cs: [Score("0.5")], Misuse, "not a score"),  # type: ignore[arg-type]
    (lambda cs: [Score(True)], Misuse, "not a score"),
    (lambda cs: None, Misuse, "0 scores for 1"),
    (lambda cs: 0.5, Misuse, "gave float, not a list of scores"),
]


@pytest.mark.parametrize(("word", "kind", "message"), WRONG)
def test_what_is_wrong_is_an_error_with_a_message(word: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        run(None, BestOfN(Says(word), n=1))


def test_an_error_that_is_meant_to_be_read_passes_as_it_is() -> None:
    def word(candidates: Any) -> Any:
        raise BadInput("give a reference")

    with pytest.raises(BadInput, match=r"^give a reference$"):
        run(Says(word))


def test_a_verifier_that_hangs_is_ended_at_its_time_limit() -> None:
    import time

    began = time.monotonic()
    with pytest.raises(VerifierFailed, match=r"took longer than its 0.2 s for 1 candidates"):
        run(None, BestOfN(Says(lambda cs: offload(sleep, 90, io=True), seconds=0.2), n=1))
    assert time.monotonic() - began < 60


def test_a_time_limit_that_is_not_reached_changes_nothing() -> None:
    def word(candidates: Any) -> list[Score]:
        return [Score(float(c.final == "2")) for c in candidates]

    with_limit, without = run(Says(word, seconds=60)), run(Says(word))
    assert (with_limit.text, with_limit.score) == (without.text, without.score)


def test_the_budget_that_ends_inside_a_verifier_is_the_runs_own() -> None:
    """Not the verifier's failure: the answer that stood is returned, and the receipt says why."""
    answer = run(Says(lambda cs: offload(sleep, 20, io=True), seconds=60), seconds=0.3)
    assert answer.receipt.finish.startswith("budget: seconds")


def test_calls_are_counted_in_a_block_of_their_own() -> None:
    receipt = run(Says(lambda cs: [Score(1.0) for _ in cs])).receipt
    assert receipt.logical.verified == 2 and receipt.by_scope["run/verify"].verified == 2


def test_no_word_ranks_below_every_score_and_weighs_nothing() -> None:
    def word(candidates: Any) -> list[Score]:
        return [Score(-math.inf) if c.final == "1" else Score(0.0) for c in candidates]

    finals = {run(Says(word), BestOfN(Says(word), n=12)).final}
    finals |= {run(Says(word), WeightedVote(Says(word), n=12, weight="exp")).final}
    assert finals == {"2"}
    mostly = WeightedVote(Says(lambda cs: [Score(-math.inf) for _ in cs]), n=3)
    assert run(None, mostly).score == 0.0
