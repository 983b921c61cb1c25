"""Tails that go on elsewhere instead of being moved: the same answers, and nothing is moved."""

from __future__ import annotations

from typing import Any

import pytest
from drafters import Asking, wild
from scripted import told

from outthink.backends.toy import hashed, toy
from outthink.core.types import Sampling
from outthink.engine import admission
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy.once import Once
from outthink.strategy.short import Short
from outthink.strategy.vote import Vote


def run(strategy: Any, is_cutting: bool, seed: int, drafter: Any = None) -> tuple[tuple[Any, ...], int]:
    """What a run answers, and how many slots were moved."""
    backend, moved = toy(hashed(4)), 0
    backend.moves_are_dear = is_cutting
    store_move = backend.store.move

    def move(moves: Any) -> None:
        nonlocal moved
        moved += sum(m.length for m in moves)
        store_move(moves)

    backend.store.move = move  # type: ignore[method-assign]
    engine = Engine(backend, slots=4000)
    sampling = Sampling(temperature=1.0, max_tokens=40, ignore_eos=True)
    answer = engine.run(Request(strategy, "abc", seed=seed, sampling=sampling, speculate=drafter))
    engine.main.tree.check()
    assert engine.main.tree.slots.used <= 3, "only the prompt may stay"
    return told(answer), moved


@pytest.mark.parametrize("strategy", [Once(), Vote(n=6), Short(m=1, k=4)], ids=repr)
def test_cut_or_moved_is_the_same(strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LOOKAHEAD", 5)
    monkeypatch.setattr(admission, "CUT", 3)
    for seed in range(3):
        moved, cut = run(strategy, False, seed), run(strategy, True, seed)
        assert cut[0] == moved[0]
        assert cut[1] <= 4, "more than a short start was moved"
        drafted = run(strategy, True, seed, Asking(wild(4, seed=seed)))
        assert drafted[0] == moved[0]
    many = run(Vote(n=6), False, 0)[1]
    assert many > 20, "the test has nothing to avoid"
