"""More live branches than a request may have: the search ends, or the request, with the best so far."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.protocols import Strategy
from outthink.core.tasks import gather
from outthink.core.types import Answer, Budget, Candidate, Sampling, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace
from outthink.strategy import AStar, Lattice, Mcts, Tot, Vote


@dataclass(frozen=True)
class Share:
    """The share of a's among the letters: from 0 to 1."""

    records = ()

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        return [Score((1 + c.text.count("a")) / (2 + len(c.text))) for c in candidates]


HUGE = 100_000
STEPS: dict[str, Any] = {"step": "b", "step_tokens": 3}
SEARCHES: dict[str, Strategy] = {
    "a_star": AStar(Share(), expansions=HUGE, expand=4, enough=1.0, **STEPS),
    "mcts": Mcts(Share(), simulations=HUGE, expand=4, **STEPS),
    "tot": Tot(Share(), expansions=HUGE, expand=4, order="depth", solutions=HUGE, **STEPS),
    "lattice": Lattice(n=HUGE, expansions=HUGE, merge=False),
}


class Most(Trace):
    """The most branches that ever lived at a time, and who wrote after the first one was refused."""

    def __init__(self) -> None:
        self.live = self.most = 0

    def born(self, branch: Branch) -> None:
        self.live += 1
        self.most = max(self.most, self.live)

    def closed(self, branch: Branch, why: str) -> None:
        self.live -= 1


def played(strategy: Any, most: int, **options: Any) -> tuple[Answer, Most]:
    """An answer under a cap on live branches; nothing is left behind."""
    told = Most()
    engine = Engine(toy(hashed(6, scale=0.5, shortest=6, seed=3), 6, context=40), slots=9000, trace=told)
    request = Request(
        strategy, "ab", sampling=Sampling(1.0, max_tokens=16), max_branches=most, seed=5, **options
    )
    try:
        answer = engine.run(request)
        again = engine.run(request)
        assert (again.text, again.score, again.finish) == (answer.text, answer.score, answer.finish)
    finally:
        engine.main.tree.check()
        assert told.live == 0 and told.most <= most
    return answer, told


def says_so(answer: Answer) -> bool:
    """Whether the receipt has it that branches ended a search."""
    assert answer.receipt is not None
    notes = answer.receipt.degradations
    return any(note.what == "budget" and "branches ended the search" in note.why for note in notes)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_with_a_huge_budget_ends_with_what_it_has(name: str) -> None:
    answer, told = played(SEARCHES[name], most=64)
    assert answer.receipt is not None and answer.receipt.finish == "done"
    assert says_so(answer)
    assert answer.text and answer.finish in ("eos", "length") and answer.score is not None
    assert told.most > 64 - 20, "it ends when it is full, and not long before"
    roomy, _ = played(SEARCHES[name], most=256)
    assert roomy.receipt is not None and answer.receipt.logical.written < roomy.receipt.logical.written
    assert roomy.score is not None and (
        roomy.score >= answer.score or math.isclose(roomy.score, answer.score)
    )


def test_each_of_several_searches_ends_by_itself() -> None:
    answer, _ = played(Vote(n=3, inner=SEARCHES["a_star"]), most=96)
    assert answer.receipt is not None and answer.receipt.finish == "done" and answer.text
    assert says_so(answer) and len(answer.others) == 2


@dataclass(frozen=True)
class Scripted:
    """A strategy that is one function."""

    script: Callable[[Branch], Awaitable[Answer]]

    async def __call__(self, root: Branch, /) -> Answer:
        return await self.script(root)


async def hoard(branch: Branch, depth: int = 0) -> Answer:
    """Two tasks below every task, each on a branch of its own, without an end."""
    await branch.generate(Sampling(1.0, max_tokens=1, ignore_eos=True))
    branch.offer(Answer(branch.text(), tokens=len(branch)), rank=depth)
    await gather(*(hoard(child, depth + 1) for child in branch.fork(2)))
    raise AssertionError("it never ends by itself")


def test_without_a_search_the_request_ends_with_its_best_offer() -> None:
    answer, told = played(Scripted(hoard), most=20)
    assert answer.receipt is not None and answer.receipt.finish == "budget: branches=20 in run"
    assert answer.tokens == 4, "1 + 2 + 4 + 8 branches live, and 15 + 2 do; the next two do not all"
    assert told.most > 15


def test_tasks_that_wait_end_too() -> None:
    """One task asks for too much; the other has thousands of tokens to write, and writes none of them."""

    async def script(root: Branch) -> Answer:
        [slow] = root.fork()
        root.offer(Answer("so far"))

        async def ask() -> None:
            await slow.generate(Sampling(1.0, max_tokens=2, ignore_eos=True))
            root.fork(5), root.fork(5)

        async def write() -> None:
            for _ in range(10):
                [one] = root.fork()
                await one.generate(Sampling(1.0, max_tokens=3, ignore_eos=True))
                one.close()

        await gather(ask(), write())
        raise AssertionError("it is ended")

    answer, _ = played(Scripted(script), most=8)
    assert answer.text == "so far" and answer.receipt is not None
    assert answer.receipt.finish == "budget: branches=8 in run"
    assert answer.receipt.logical.written <= 2 + 2


def test_with_nothing_on_offer_it_is_an_error() -> None:
    async def script(root: Branch) -> Answer:
        await root.generate(Sampling(1.0, max_tokens=3))
        with root.limit("search", keep=Budget()):
            root.fork(4), root.fork(4)
        raise AssertionError("nothing to go on with")

    with pytest.raises(BadInput, match="more than 8 live branches: ask for fewer"):
        played(Scripted(script), most=8)
    with pytest.raises(BadInput, match="more than 8 live branches"):
        played(Vote(n=8), most=8)


def test_a_number_that_never_fits_is_an_error() -> None:
    async def script(root: Branch) -> Answer:
        root.offer(Answer("so far"))
        root.fork(9)
        raise AssertionError("it is ended")

    with pytest.raises(BadInput, match="more than 8 live branches: ask for fewer"):
        played(Scripted(script), most=8)


def test_branches_that_are_opened_count_too() -> None:
    async def script(root: Branch) -> Answer:
        root.offer(Answer("so far"))
        for _ in range(20):
            await root.open("ab")
        raise AssertionError("it is ended")

    assert played(Scripted(script), most=8)[0].text == "so far"


def test_a_swallowed_end_is_raised_again() -> None:
    async def script(root: Branch) -> Answer:
        root.offer(Answer("so far"))
        with suppress(BaseException):
            while True:
                root.fork(5)
        await root.generate()
        raise AssertionError("it is ended")

    assert played(Scripted(script), most=8)[0].text == "so far"
