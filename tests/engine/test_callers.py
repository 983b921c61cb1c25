"""What Python programs do with an engine: wrong arguments, threads, with-blocks, strategies of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

import outthink as ot
from outthink.engine.engine import Engine
from outthink.strategy import Greedy, Vote


@pytest.fixture(scope="module")
def lm() -> Iterator[Engine]:
    with ot.load("pocket-mini", dtype="float64") as engine:
        yield engine


def plain(root: ot.Branch) -> ot.Answer:
    return ot.Answer("x")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"lm": "pocket"}, r"give ot.load\('pocket'\)"),
    ({"strategy": Vote}, r"Vote is a class: give Vote\(...\)"),
    ({"strategy": 3}, "strategy=3: give a strategy"),
    ({"strategy": plain}, "returned Answer: a strategy is `async def`"),
    ({"problem": None}, "problem=None: give the question's text"),
    ({"problem": b"hi"}, "problem=b'hi'"),
    ({"budget": 100}, "budget=100: give a Budget"),
    ({"budget": {"written": 3}}, "give a Budget"),
    ({"budget": "writen=3"}, "did you mean 'written'"),
    ({"sampling": {"max_tokens": 3}}, "give a Sampling"),
    ({"seed": 1.5}, "seed=1.5: give an int"),
    ({"seed": None}, "seed=None"),
]


@pytest.mark.parametrize("given, said", WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_argument_is_named(given: dict[str, Any], said: str, lm: Engine) -> None:
    with pytest.raises(ot.BadInput, match=said):
        ask: dict[str, Any] = {"strategy": Greedy(), "problem": "hi", "lm": lm}
        ot.run(**(ask | given))


def test_a_budget_may_be_text(lm: Engine) -> None:
    assert ot.run("greedy", "hi", lm, budget="written=1").receipt.logical.written == 1  # type: ignore[union-attr]


def test_an_engine_says_what_it_runs(lm: Engine) -> None:
    assert repr(lm).startswith("Engine('pocket-mini', float64 cpu")


def test_threads_take_turns(lm: Engine) -> None:
    """Without turns, their passes mix and most of them raise."""
    asked = [
        f"Mia has {n} coins. Mia finds 4 more. How many coins does Mia have in the end?" for n in range(4)
    ]
    alone = [ot.run("vote(n=12)", q, lm, seed=3).text for q in asked]
    found: dict[int, str] = {}

    def one(i: int) -> None:
        found[i] = ot.run("vote(n=12)", asked[i], lm, seed=3).text

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [found.get(i) for i in range(len(asked))] == alone


@dataclass(frozen=True)
class Plainest:
    """Write once, and read the answer off."""

    async def __call__(self, root: ot.Branch, /) -> ot.Answer:
        await root.generate()
        return ot.read_off(root)


def test_ones_own_strategy_has_final_answers_that_vote(lm: Engine) -> None:
    asked, few = (
        "Mia has 8 coins. Mia finds 4 more. How many coins does Mia have in the end?",
        ot.Sampling(0.8, 60),
    )
    own = ot.run(Vote(n=8, inner=Plainest()), asked, lm, sampling=few)
    assert own.final is not None and own.final == ot.run(Vote(n=8), asked, lm, sampling=few).final


@dataclass(frozen=True)
class Halting:
    """A verifier that is stopped from the keyboard."""

    records: tuple[str, ...] = ()

    async def __call__(self, candidates: Sequence[ot.Candidate], /) -> list[ot.Score]:
        raise KeyboardInterrupt


def test_an_engine_goes_on_after_ctrl_c(lm: Engine) -> None:
    with pytest.raises(KeyboardInterrupt):
        ot.run(ot.strategy.BestOfN(n=2, verifier=Halting()), "hi", lm, sampling=ot.Sampling(max_tokens=4))
    for _ in range(2):
        assert ot.run("greedy", "hi", lm, budget="written=3").text
    assert not lm.runs and not lm.trampoline.live and not lm.trampoline.ready


class Half:
    """A drafter whose live half lacks almost everything."""

    def open(self, studio: Any) -> Any:
        return object()


def test_half_a_drafter_is_refused_and_nothing_of_it_stays(lm: Engine) -> None:
    with pytest.raises(ot.BadInput, match="has no name and no tops and no propose"):
        ot.run("vote(n=2)", "hi", lm, speculate=Half())
    assert not lm.runs and not lm.main.works
    assert ot.run("greedy", "hi", lm, budget="written=3").text


def test_a_receipt_prints_in_one_line(lm: Engine) -> None:
    receipt = ot.run("vote(n=2)", "hi", lm, seed=7, budget="written=4").receipt
    assert str(receipt).startswith("vote(n=2), seed 7, on pocket-mini: 4 tokens written, ")
    assert str(receipt).endswith("; budget: written=4 in run")
