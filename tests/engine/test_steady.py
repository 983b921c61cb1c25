"""Passes made from the last one are the passes that planning makes."""

from __future__ import annotations

from typing import Any

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.batch import Batch
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.steady import Steady
from outthink.speculate import DraftModel
from outthink.strategy.short import Short
from outthink.strategy.vote import Vote


def batches(strategy: Any, slots: int, speculate: Any = "none") -> list[Batch]:
    """Every batch of a few runs that share an engine, and of a drafting model that is mostly right."""
    seen: list[Batch] = []
    main, small = toy(hashed(4)), toy(hashed(4, scale=1.5))
    small.about = small.about._replace(name="small")
    for backend in (main, small):
        _listen(backend, seen)
    sampling = Sampling(max_tokens=20, ignore_eos=True, stop=("abcab",))
    requests = [
        Request(strategy, "abc"[: 1 + i], seed=i, sampling=sampling, speculate=speculate) for i in range(3)
    ]
    engine = Engine(main, slots=slots)
    engine.add(small, slots=slots)
    done = list(engine.map(requests))
    assert all(d.error is None for d in done)
    engine.main.tree.check()
    return seen


def _listen(backend: Any, seen: list[Batch]) -> None:
    forward = backend.model.forward

    def listen(batch: Batch, store: object) -> object:
        seen.append(batch)
        return forward(batch, store)

    backend.model.forward = listen


@pytest.mark.parametrize("strategy", [Vote(n=1), Vote(n=6), Short(m=1, k=4)], ids=repr)
@pytest.mark.parametrize("slots", [4000, 90])
@pytest.mark.parametrize("speculate", ["none", DraftModel("small", n=3)], ids=repr)
def test_same_batches(strategy: object, slots: int, speculate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    step = Steady.step

    def count(self: Steady) -> Batch:
        nonlocal steps
        steps += 1
        return step(self)

    monkeypatch.setattr(Steady, "step", count)
    quick = batches(strategy, slots, speculate)
    monkeypatch.setattr(Steady, "after", classmethod(lambda *_: None))
    slow = batches(strategy, slots, speculate)
    assert quick == slow
    assert steps > 0 or slots < 4000, "the short way was never taken"


def test_a_text_that_caught_up_writes_on_at_once() -> None:
    """A drafting model that lacks two rows reads them and writes in two jobs: no job is planned between."""
    one = Engine(toy(hashed(4)), slots=4000)
    small = toy(hashed(4))
    small.about = small.about._replace(name="small")
    one.add(small)
    place: Any = one.places["small"]
    land, jobs = place.land, []

    def landing(flight: Any, result: Any) -> Any:
        jobs.append((len(flight.job.batch), flight.steady is not None))
        return land(flight, result)

    place.land = landing
    sampling = Sampling(temperature=1.0, max_tokens=40, ignore_eos=True)
    one.run(Request(Vote(n=1), "abc", sampling=sampling, speculate=DraftModel("small", n=4)))
    again = [i for i, (rows, _) in enumerate(jobs) if rows == 2]
    assert len(again) > 4, "it never had to catch up"
    assert all(jobs[i + 1] == (1, True) for i in again)
