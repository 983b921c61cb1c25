"""Speculation changes no answer and no logical cost: any strategy, any draft, any batch, any budget."""

from __future__ import annotations

from typing import Any

import pytest
from drafters import Asking, wild
from scripted import PROBLEM, STRATEGIES, engine, told

from outthink.backends.toy import hashed, toy
from outthink.core.types import Budget, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy.once import Once
from outthink.strategy.short import Short
from outthink.strategy.vote import Vote

SAMPLINGS = [
    Sampling(temperature=1.0, max_tokens=14),
    Sampling(temperature=0.0, max_tokens=14),
    Sampling(temperature=0.7, max_tokens=9, top_p=0.8, repetition_penalty=1.4, logit_bias=((1, 0.5),)),
    Sampling(
        temperature=1.0, max_tokens=14, min_p=0.2, presence_penalty=0.5, stop=("cb", "aa"), keep_stop=True
    ),
    Sampling(temperature=1.3, max_tokens=14, top_k=3, stop=("b",), ignore_eos=True),
]
SHAPES = [(64, 512, 4000), (2, 9, 4000), (3, 7, 48)]


def hashing(max_batch: int = 64, max_rows: int = 512, slots: int = 4000) -> Engine:
    return Engine(toy(hashed(4, scale=2.5)), slots=slots, max_batch=max_batch, max_rows=max_rows)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("strategy", [Once(), Vote(n=5), Short(m=2, k=4)], ids=repr)
def test_wild_drafts_change_nothing(strategy: Any, sampling: Sampling) -> None:
    for seed in range(4):
        plain = told(hashing().run(Request(strategy, "abc", seed=seed, sampling=sampling)))
        for shape in SHAPES:
            one = hashing(*shape)
            drafter = Asking(wild(4, seed=seed))
            answer = one.run(Request(strategy, "abc", seed=seed, sampling=sampling, speculate=drafter))
            assert told(answer) == plain, (seed, shape)
            one.main.tree.check()
            assert one.main.tree.filled <= 3, "only the prompt may stay"
            assert not any(node.cursors for node in one.main.tree.nodes()), "a draft was left in the tree"


def test_drafts_are_accepted_and_counted() -> None:
    sampling = Sampling(temperature=0.0, max_tokens=20, ignore_eos=True)
    text = hashing().run(Request(Once(), "abc", sampling=sampling)).text
    answer = hashing().run(Request(Once(), "abc", sampling=sampling, speculate=Asking(wild(4, most=8))))
    assert answer.text == text and answer.receipt is not None
    tally = answer.receipt.speculation["test"]
    assert tally.drafted >= tally.checked >= tally.accepted > 0
    assert answer.receipt.actual.passes + tally.accepted == 20
    assert answer.receipt.actual.positions == 3 + 19 - tally.accepted + tally.checked
    assert answer.receipt.drawn_per_row > 1


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@pytest.mark.parametrize("budget", [Budget(), Budget(written=17), Budget(positions=12)], ids=repr)
def test_every_strategy_and_budget(strategy: Any, budget: Budget) -> None:
    request = Request(strategy, PROBLEM, budget, 3, Sampling(temperature=1.0))
    plain = told(engine().run(request))
    drafted = Request(strategy, PROBLEM, budget, 3, Sampling(temperature=1.0), speculate=Asking(likely))
    for shape in [(256, 512, 4000), (3, 5, 4000), (300, 3, 64)]:
        one = engine(*shape)
        assert told(one.run(drafted)) == plain, shape
        one.main.tree.check()
        assert not any(node.cursors for node in one.main.tree.nodes()), "a draft was left in the tree"


def likely(tip: Any, depth: int, nodes: int) -> Any:
    """What the scripted model may well write, as a fan and as a chain."""
    from outthink.backends.toy import ALPHABET
    from outthink.core.draft import Draft

    words = ["\nA:1.", "\nA:2.", "\nA:22.", "\nA:36.", "."]
    written = "".join(ALPHABET[t] for t in tip.tokens)[1:]
    rest = [word[len(written) :] for word in words if word.startswith(written) and word != written][:nodes]
    tokens, parents = [], []
    for word in rest:
        at = -1
        for letter in word[: max(1, nodes // len(rest))]:
            tokens.append(ALPHABET.index(letter))
            parents.append(at)
            at = len(tokens) - 1
    return Draft(tuple(tokens), tuple(parents)) if tokens else None


def test_a_draft_whose_tip_had_no_room_leaves_the_tree() -> None:
    """A long prompt takes its share of a pass, and a branch that had drafted is left out of it."""
    sampling = Sampling(temperature=1.0, max_tokens=14, ignore_eos=True)
    asked = [(Vote(n=14), "abc"), (Once(), "abcab" * 8), (Once(), "bcabc" * 8)]

    def run(**given: Any) -> tuple[list[Any], Engine]:
        one = hashing(max_batch=16, max_rows=16)
        requests = [
            Request(s, prompt, sampling=sampling, tag=i, **given) for i, (s, prompt) in enumerate(asked)
        ]
        done = sorted(one.map(requests), key=lambda d: d.request.tag)
        return [told(d.answer) for d in done if d.answer], one

    plain, _ = run()
    drafted, one = run(speculate=Asking(wild(4, seed=1)))
    assert drafted == plain and len(plain) == 3
    one.main.tree.check()
    assert not any(node.cursors for node in one.main.tree.nodes()), "a draft was left in the tree"
