"""Drafters that go on from request to request: the same text and logical cost, and apart for each key."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import told

from outthink.backends.toy import hashed, toy
from outthink.core.drafting import Tip
from outthink.core.receipt import Drafting
from outthink.core.types import Answer, Sampling
from outthink.engine import memory
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.speculate import (
    Auto,
    Consensus,
    Copy,
    Hierarchy,
    Jacobi,
    Recycling,
    Stand,
    Trie,
    _places,
    stand,
)
from outthink.speculate._places import Places, Text
from outthink.speculate.rules import Recursive
from outthink.strategy import Vote

VOCAB = 5
SAMPLING = Sampling(temperature=1.0, max_tokens=24, ignore_eos=True)
SOURCES = [
    Copy(),
    Trie(),
    Consensus(),
    Recycling(),
    Stand(),
    Jacobi(),
    Hierarchy(),
    Auto((Copy(), Consensus())),
]
REMEMBERING = [Trie(), Consensus(), Stand()]  # what the first request wrote is drafted for the second


def ask(drafter: Any, share: str = "", **given: Any) -> Request:
    return Request(Vote(n=3), "abcab", sampling=SAMPLING, seed=1, speculate=drafter, share=share, **given)


def engine(warm: bool = True) -> Engine:
    one = Engine(toy(hashed(VOCAB, seed=4, scale=2.0), VOCAB), clock=lambda: 0.0)
    one.main.curve().observe = lambda *_: None  # type: ignore[method-assign,union-attr]
    one.warm = warm
    one.run(ask("none"))  # the prompt has its cache: what differs from here on is drafted
    return one


def tally(answer: Answer) -> Drafting:
    assert answer.receipt is not None
    found = answer.receipt.speculation
    return next(iter(found.values()))


@pytest.mark.parametrize("drafter", SOURCES, ids=repr)
def test_the_text_and_the_logical_cost_stay(drafter: Any) -> None:
    plain = told(engine().run(ask("none")))
    one = engine()
    answers = [one.run(ask(drafter)) for _ in range(3)]
    assert [told(answer) for answer in answers] == [plain] * 3
    assert [any(t.is_warm for t in a.receipt.speculation.values()) for a in answers if a.receipt] == [
        False, True, True,
    ]  # fmt: skip
    one.main.tree.check()  # type: ignore[union-attr]


@pytest.mark.parametrize("drafter", REMEMBERING, ids=repr)
def test_what_was_written_before_is_drafted_sooner(drafter: Any) -> None:
    one = engine()
    first, second = (one.run(ask(drafter)).receipt for _ in range(2))
    assert first is not None and second is not None
    assert second.logical == first.logical, "the logical cost is that of a cold machine"
    assert second.actual.passes < 0.8 * first.actual.passes


@pytest.mark.parametrize("drafter", REMEMBERING, ids=repr)
def test_another_key_learns_nothing_of_it(drafter: Any) -> None:
    """Its request costs exactly what it costs where nobody was before: passes, drafts and all."""
    alone = engine().run(ask(drafter, "b")).receipt
    one = engine()
    one.run(ask(drafter, "a"))
    after = one.run(ask(drafter, "b")).receipt
    assert after is not None and alone is not None
    assert after.actual.passes == alone.actual.passes and not any(
        t.is_warm for t in after.speculation.values()
    )
    for name, found in after.speculation.items():
        known = alone.speculation[name]
        assert (found.drafted, found.checked, found.accepted) == (
            known.drafted,
            known.checked,
            known.accepted,
        )


def test_it_is_off_unless_asked_for() -> None:
    one = engine(warm=False)
    passes = [one.run(ask(Trie())).receipt.actual.passes for _ in range(2)]  # type: ignore[union-attr]
    assert passes[0] == passes[1]
    warmed = [one.run(ask(Trie(), warm=True)).receipt.actual.passes for _ in range(2)]  # type: ignore[union-attr]
    assert warmed[0] == passes[0] > warmed[1]
    assert one.run(ask(Trie(), warm=False)).receipt.actual.passes == passes[0]  # type: ignore[union-attr]


def test_two_requests_at_a_time_share_what_they_learn() -> None:
    plain = told(engine().run(ask("none")))
    one = engine()
    answers = [done.answer for done in one.map([ask(Trie()) for _ in range(4)], concurrency=2)]
    assert [told(answer) for answer in answers if answer] == [plain] * 4


def test_a_rule_that_weighs_draws_starts_cold() -> None:
    """A seed draws its own noise again, so that a draft that knows what it wrote would be no chance."""
    cold, warm = engine(warm=False), engine()
    for _ in range(2):
        one, other = (lm.run(ask(Stand(), accept=Recursive())) for lm in (cold, warm))
        assert one.text == other.text and one.receipt is not None and other.receipt is not None
        assert tally(one).accepted == tally(other).accepted and not tally(other).is_warm
        assert [note.what for note in other.receipt.degradations] == ["warm"]


# --------------------------------------------------------------------------------------------------- bounds


def test_places_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_places, "MOST", 100)
    places = Places(2)
    for i in range(50):
        places.read(Text([1000 * i + j for j in range(12)]))
        assert places.count <= 100 + 11 and places.count == sum(map(len, places.where.values()))
    assert places.after([49000, 49001]) is not None and places.after([0, 1]) is None


def test_stand_forgets_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand, "MOST", 64)
    studio: Any = type("Studio", (), {"vocab": 9, "shares_noise": True})()
    source = Stand(order=2, k=2).open(studio)
    for i in range(300):
        source._hear((i, i + 1), [(1, -0.1), (2, -3.0)])
        assert len(source.table) <= 64 and source.count == 2 * sum(map(len, source.table.values()))
    tip = Tip([299, 300], 1, Sampling(temperature=0.0))
    assert source.propose(tip, 4, 4) is not None
    assert source.propose(Tip([1, 2], 1, Sampling(temperature=0.0)), 4, 4) is None


def test_drafters_and_their_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 3)
    one = engine()
    for share in "abcd":
        one.run(ask(Trie(), share))
    warm = [one.run(ask(Trie(), share)).receipt.speculation["trie"].is_warm for share in "dcb"]  # type: ignore[union-attr]
    assert warm == [True] * 3 and not tally(one.run(ask(Trie(), "a"))).is_warm
    assert one.memory.state_bytes > 0
    monkeypatch.setattr(memory, "MOST_BYTES", 1)
    one.run(ask(Trie(), "a"))
    assert not tally(one.run(ask(Trie(), "b"))).is_warm, "only the last one was kept"
