"""Drafts by variants of the model: same text, same logical cost, its cache untouched, scratch freed."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import told

from outthink.backends.toy import TOY_LAYERS, hashed, toy
from outthink.core.types import Budget, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.speculate.exit import Exit
from outthink.speculate.int8 import Int8
from outthink.speculate.skip import Skip
from outthink.strategy.once import Once
from outthink.strategy.short import Short
from outthink.strategy.vote import Vote

DRAFTERS: list[Any] = [
    Int8(n=3),
    Exit(layer=3, n=2, least=0.0),
    Skip(n=4, least=0.0),
    Skip((0, 3), n=2, least=0.3),
]
SAMPLINGS = [
    Sampling(temperature=1.0, max_tokens=14),
    Sampling(temperature=0.0, max_tokens=14, ignore_eos=True),
    Sampling(temperature=0.9, max_tokens=14, repetition_penalty=1.5, top_p=0.8, stop=("ab",)),
]


def engine(max_batch: int = 64, max_rows: int = 512, slots: int = 4000) -> Engine:
    return Engine(toy(hashed(4)), slots=slots, max_batch=max_batch, max_rows=max_rows)


def ask(strategy: Any, sampling: Sampling, budget: Budget | None = None, **given: Any) -> Request:
    return Request(strategy, "abc", budget or Budget(), 5, sampling, **given)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("drafter", DRAFTERS, ids=repr)
@pytest.mark.parametrize("strategy", [Once(), Vote(n=5), Short(m=2, k=4)], ids=repr)
def test_same_text_and_logical_cost(strategy: Any, drafter: Any, sampling: Sampling) -> None:
    for budget in (Budget(), Budget(written=17)):
        plain = told(engine().run(ask(strategy, sampling, budget)))
        for shape in [(64, 512, 4000), (2, 5, 4000), (64, 512, 60)]:
            one = engine(*shape)
            assert told(one.run(ask(strategy, sampling, budget, speculate=drafter))) == plain, (budget, shape)
            one.main.tree.check()
            assert one.main.tree.slots.used <= 3, "scratch is not free again"


def test_a_variant_that_agrees_is_always_right() -> None:
    receipt = engine().run(ask(Once(), SAMPLINGS[1], speculate=Int8(n=3))).receipt
    assert receipt is not None
    tally = receipt.speculation["int8"]
    assert tally.accepted == tally.checked > 0
    assert tally.bytes > 0
    # every drafted token is a row of the variant, and the tip's is one row more
    assert receipt.actual.positions == 3 + 13 + tally.drafted
    assert receipt.drawn_per_row == 14 / 5  # the prompt gives one, then 3 + 1 a pass


def test_what_is_asked_for_must_be_there() -> None:
    for drafter in (Exit(layer=TOY_LAYERS), Skip(leave_out=(TOY_LAYERS,))):
        with pytest.raises(ValueError, match="layers"):
            engine().run(ask(Once(), SAMPLINGS[0], speculate=drafter))


def test_swift_looks_for_better_layers() -> None:
    """Sets are tried and valued; the set in use is the best of them or one that is being tried."""
    one = engine()
    drafter = Skip(n=3, least=0.0)
    sources = []
    open_it = Skip.open

    def listen(self: Skip, studio: Any) -> Any:
        sources.append(open_it(self, studio))
        return sources[-1]

    Skip.open = listen  # type: ignore[method-assign]
    try:
        one.run(ask(Vote(n=40), Sampling(temperature=1.0, max_tokens=20, ignore_eos=True), speculate=drafter))
    finally:
        Skip.open = open_it  # type: ignore[method-assign]
    [source] = sources
    assert len(source.values) > 1
    assert all(0 < len(out) < TOY_LAYERS and 0 not in out for out in source.values)


def test_a_model_without_variants_writes_on() -> None:
    backend = toy(hashed(4))
    backend._variants.clear()
    backend.variant = lambda variant: (_ for _ in ()).throw(RuntimeError("no such kernel"))  # type: ignore
    answer = Engine(backend, slots=400).run(ask(Once(), SAMPLINGS[0], speculate=Int8()))
    assert told(answer) == told(engine().run(ask(Once(), SAMPLINGS[0]))) and answer.receipt is not None
    [note] = answer.receipt.degradations
    assert "no such kernel" in note.why
