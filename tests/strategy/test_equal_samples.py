"""Samples that cannot differ are said: at temperature 0 every one is the same text, whatever the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from outthink.core.branch import Branch
from outthink.core.types import Answer, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import BudgetForce, Greedy, Once, Race, Refine, Temperatures, Vote
from outthink.testing.scripted import scripted


def said(strategy: Any, temperature: float, seed: int = 0) -> list[str]:
    """What the receipt says of sampling."""

    def script(question: str) -> Mapping[str, float]:
        return {"A: 1": 0.75, "A: 2": 0.25}

    request = Request(strategy, "q", sampling=Sampling(temperature=temperature), seed=seed)
    receipt = Engine(scripted(script)).run(request).receipt
    assert receipt is not None
    return [d.why for d in receipt.degradations if d.what == "sampling"]


@pytest.mark.parametrize(
    "strategy", [Vote(n=2), Vote(n=9), Refine(inner=Vote(n=2)), Race((Greedy(), Once()))]
)
def test_equal_samples_are_said_once(strategy: Any) -> None:
    [why] = said(strategy, 0.0)
    assert "temperature 0" in why and "seed" in why
    assert said(strategy, 0.0, seed=7) == [why]
    assert said(strategy, 1.0) == []


@pytest.mark.parametrize("strategy", [Once(), Greedy(), Vote(n=1), Refine(rounds=1), BudgetForce(("x", "y"))])
def test_texts_that_follow_other_texts_are_not_equal_samples(strategy: Any) -> None:
    assert said(strategy, 0.0) == []


def test_only_the_samples_at_zero_count() -> None:
    assert len(said(Temperatures(n=4, values=(0.0, 1.0)), 1.0)) == 1
    assert said(Temperatures(n=4, values=(0.0, 1.0, 1.5, 2.0)), 1.0) == []


def test_what_makes_texts_differ_is_heeded_and_what_does_not_is_not() -> None:
    class Two:
        def __init__(self, **change: Any) -> None:
            self.change = change

        async def __call__(self, root: Branch, /) -> Answer:
            one, other = root.fork(2)
            await one.generate()
            await other.generate(replace(root.sampling, **self.change))
            return Answer("")

    assert said(Two(logit_bias=((65, -100.0),)), 0.0) == said(Two(stop=("A",)), 0.0) == []
    assert len(said(Two(max_tokens=2), 0.0)) == len(said(Two(stats=("entropy",)), 0.0)) == 1


def test_a_seed_and_a_sample_have_draws_of_their_own() -> None:
    """The other half: above 0 neither two samples of a run nor two seeds share their noise."""

    def script(question: str) -> Mapping[str, float]:
        return {f"{i:02d}": 1 / 64 for i in range(64)}

    def drawn(seed: int) -> list[str]:
        request = Request(Vote(n=12), "q", sampling=Sampling(temperature=1.0), seed=seed)
        answer = Engine(scripted(script)).run(request)
        return sorted(a.text for a in (answer, *answer.others))

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) > 6  # of 12 draws of 64, ten or eleven differ; a shared draw leaves one
