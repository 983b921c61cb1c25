"""Ctrl-C at any moment of the engine's own work: what ran is gone, and the next run is right."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import AdaptiveVote

MOMENTS = [
    "core.tree:Tree.append",
    "core.tree:Tree.reserve",
    "core.tree:Tree._alloc",
    "core.tree:Tree.mark",
    "core.tree:Tree.close",
    "core.tree:Tree._release",
    "core.ledger:Scope.charge",
    "core.trampoline:Trampoline._end",
    "core.trampoline:Trampoline.run",
    "engine.desk:Desk.deliver",
    "engine.desk:Desk.grant",
    "engine.admission:Admission._plan_rows",
    "engine.place:Place.land",
    "engine.stretch:Stretch.push",
    "backends.local:LocalBackend.submit",
    "backends.local:LocalBackend._run",
    "engine.request:Run.__init__",
]


def request(seed: int = 0) -> Request:
    return Request(AdaptiveVote(n=6, wave=3), "ab", seed=seed, sampling=Sampling(1.0, max_tokens=8))


def engine() -> Engine:
    return Engine(toy(hashed(4, shortest=4, seed=1), 4, context=40), slots=60)


def interrupt(monkeypatch: pytest.MonkeyPatch, moment: str, nth: int, before: bool) -> Callable[[], bool]:
    """Ctrl-C at the nth call of a function, before or after it did its work; whether it came to that."""
    module, _, name = moment.partition(":")
    kind, _, method = name.partition(".")
    owner = getattr(importlib.import_module(f"outthink.{module}"), kind)
    real, calls = getattr(owner, method), [0]

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth and before:
            raise KeyboardInterrupt
        found = real(*args, **kwargs)
        if calls[0] == nth:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(owner, method, interrupted)
    return lambda: calls[0] >= nth


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_next_run_is_right(moment: str, before: bool) -> None:
    truth = [engine().run(request(seed)).text for seed in range(3)]
    came = 0
    for nth in (1, 2, 7):
        own = engine()
        assert own.run(request(0)).text == truth[0]
        with pytest.MonkeyPatch.context() as patch:
            happened = interrupt(patch, moment, nth, before)
            try:
                list(own.map([request(1), request(2), request(0)]))
            except KeyboardInterrupt:
                assert happened()
                came += 1
        assert not own.runs and not own.trampoline.live and not own.main.works
        assert [done.answer and done.answer.text for done in own.map([request(2)])] == [truth[2]]
        assert [own.run(request(seed)).text for seed in range(3)] == truth
        own.main.tree.check()
        assert not any(node.cursors for node in own.main.tree.nodes())
    assert came, f"{moment} was never interrupted"


def test_a_run_around_it_is_gone_too() -> None:
    own = engine()
    outer = own.map([request(1), request(2)], concurrency=1)
    next(outer)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, "core.tree:Tree.append", 3, True)
        own.run(request(0))
    outer.close()
    assert not own.runs and not own.main.works
    assert own.run(request(0)).text == engine().run(request(0)).text
