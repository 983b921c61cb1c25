"""Passes made from the last one are the passes that planning makes."""

from __future__ import annotations

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.batch import Batch
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.steady import Steady
from outthink.strategy.short import Short
from outthink.strategy.vote import Vote


def batches(strategy: object, slots: int) -> list[Batch]:
    """Every batch of a few runs that share an engine."""
    backend = toy(hashed(4))
    seen: list[Batch] = []
    forward = backend.model.forward

    def listen(batch: Batch, store: object) -> object:
        seen.append(batch)
        return forward(batch, store)

    backend.model.forward = listen  # type: ignore[method-assign, assignment]
    sampling = Sampling(max_tokens=20, ignore_eos=True, stop=("abcab",))
    requests = [Request(strategy, "abc"[: 1 + i], seed=i, sampling=sampling) for i in range(3)]  # type: ignore[arg-type]
    engine = Engine(backend, slots=slots)
    done = list(engine.map(requests))
    assert all(d.error is None for d in done)
    engine.main.tree.check()
    return seen


@pytest.mark.parametrize("strategy", [Vote(n=1), Vote(n=6), Short(m=1, k=4)], ids=repr)
@pytest.mark.parametrize("slots", [4000, 90])
def test_same_batches(strategy: object, slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    step = Steady.step

    def count(self: Steady) -> Batch:
        nonlocal steps
        steps += 1
        return step(self)

    monkeypatch.setattr(Steady, "step", count)
    quick = batches(strategy, slots)
    monkeypatch.setattr(Steady, "after", classmethod(lambda *_: None))
    slow = batches(strategy, slots)
    assert quick == slow
    assert steps > 0 or slots < 4000, "the short way was never taken"
