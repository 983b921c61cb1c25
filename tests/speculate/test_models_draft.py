"""Drafts that another model writes: same text, same logical cost, shared noise; other words are refused."""

from __future__ import annotations

from typing import Any

import pytest
from drafters import Asking, wild
from scripted import told

from outthink.backends.toy import hashed, toy
from outthink.core.drafting import Tip
from outthink.core.types import Answer, Budget, Sampling
from outthink.engine.engine import Engine
from outthink.engine.follower import Follower
from outthink.engine.request import Request
from outthink.speculate.draft_model import DraftModel
from outthink.speculate.staged import Staged
from outthink.strategy.once import Once
from outthink.strategy.short import Short
from outthink.strategy.vote import Vote

SAMPLINGS = [
    Sampling(temperature=1.0, max_tokens=14),
    Sampling(temperature=0.0, max_tokens=14, ignore_eos=True),
    Sampling(temperature=0.9, max_tokens=14, repetition_penalty=1.5, top_p=0.8, stop=("ab",)),
]


def engine(seed: int = 0, vocab: int = 4, max_batch: int = 64, max_rows: int = 512) -> Engine:
    """A toy model with another beside it: the same logits where `seed` is 0."""
    engine = Engine(toy(hashed(4)), slots=4000, max_batch=max_batch, max_rows=max_rows)
    small = toy(hashed(vocab, seed=seed), vocab=vocab)
    small.about = small.about._replace(name="small")
    engine.add(small, slots=4000)
    return engine


def ask(strategy: Any, sampling: Sampling, budget: Budget | None = None, **given: Any) -> Request:
    return Request(strategy, "abc", budget or Budget(), 5, sampling, **given)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("strategy", [Once(), Vote(n=5), Short(m=2, k=4)], ids=repr)
def test_same_text_and_logical_cost(strategy: Any, sampling: Sampling) -> None:
    for budget in (Budget(), Budget(written=17)):
        plain = told(engine().run(ask(strategy, sampling, budget)))
        for seed, shape in [(0, (64, 512)), (1, (64, 512)), (1, (2, 5))]:
            one = engine(seed, 4, *shape)
            drafted = ask(strategy, sampling, budget, speculate=DraftModel("small", n=3))
            assert told(one.run(drafted)) == plain, (budget, seed, shape)
            for place in one.places.values():
                place.tree.check()
                assert all(not node.cursors for node in place.tree.nodes())


def answer(seed: int, sampling: Sampling) -> Answer:
    return engine(seed).run(ask(Once(), sampling, speculate=DraftModel("small", n=3)))


@pytest.mark.parametrize("sampling", SAMPLINGS[:2], ids=str)
def test_a_model_that_agrees_is_always_right(sampling: Sampling) -> None:
    """Both draw with one noise, so equal distributions draw equal tokens at any temperature."""
    receipt = answer(0, sampling).receipt
    assert receipt is not None
    tally = receipt.speculation["draft_model"]
    assert tally.accepted == tally.checked > 0
    assert tally.bytes > 0 and receipt.actual.written == receipt.logical.written


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_staged(sampling: Sampling) -> None:
    """A drafter for the drafting model changes neither text, and is counted apart."""
    plain = told(engine().run(ask(Vote(n=3), sampling)))
    drafter = Staged(Asking(wild(4)), "small", n=4)
    one = engine(1)
    answer = one.run(ask(Vote(n=3), sampling, speculate=drafter))
    assert told(answer) == plain and answer.receipt is not None
    direct = engine(1).run(ask(Vote(n=3), sampling, speculate=DraftModel("small", n=4))).receipt
    assert direct is not None
    staged, alone = answer.receipt.speculation["staged"], direct.speculation["draft_model"]
    assert (staged.drafted, staged.accepted) == (alone.drafted, alone.accepted)
    assert answer.receipt.speculation["staged/test"].accepted > 0
    for place in one.places.values():
        place.tree.check()


def test_a_staged_model_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be a model"):
        engine(1).run(ask(Once(), SAMPLINGS[0], speculate=Staged(DraftModel("small"), "small")))


def test_drafting_is_in_the_actual_book_alone() -> None:
    plain = engine(1).run(ask(Once(), SAMPLINGS[1])).receipt
    drafted = answer(1, SAMPLINGS[1]).receipt
    assert plain is not None and drafted is not None
    assert drafted.logical == plain.logical
    tally = drafted.speculation["draft_model"]
    own = 3 + 13 - tally.accepted + tally.checked  # rows of the target
    assert drafted.actual.positions > own, "the drafting model's rows are paid for"


def test_another_vocabulary_costs_the_draft_only() -> None:
    one = engine(1, vocab=5)
    plain = told(engine().run(ask(Once(), SAMPLINGS[0])))
    answer = one.run(ask(Once(), SAMPLINGS[0], speculate=DraftModel("small")))
    assert told(answer) == plain and answer.receipt is not None
    [note] = answer.receipt.degradations
    assert "another vocabulary" in note.why


def test_a_follower_goes_to_the_text_that_it_is_given() -> None:
    """Longer, shorter, or another from the middle on, as when a translated text is read anew."""
    place: Any = Engine(toy(hashed(6), 6)).main
    tip = Tip([1, 2, 3], 1, Sampling())
    follower = Follower(place, tip, tip.tokens, Sampling())
    for tokens in ([1, 2, 3, 4], [1, 5, 3, 4, 2], [1, 5], [1, 5, 2, 2], [2, 5, 2, 2], [2]):
        with pytest.raises(StopIteration):
            follower.follow(tokens).send(None)
        assert place.tree.tokens(follower.cursor) == tokens == follower.known
    follower.close()
    place.tree.check()
