"""Drafts in 8 bits on the native kernels: a variant of the model on its own cache, or a model beside it."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import told

import outthink as ot
from outthink.backends.load import embedded
from outthink.core.receipt import Receipt
from outthink.core.types import Sampling
from outthink.models.int8_panels import Int8Panels
from outthink.models.levels import _native
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote

pytestmark = pytest.mark.skipif(_native is None, reason="the native extension is not built")

QUESTION = "Mia has 14 coins. She buys 3 bags of 6 coins. How many coins does Mia have?"
SAMPLINGS = [
    Sampling(temperature=0.0, max_tokens=60),
    Sampling(temperature=0.8, max_tokens=60),
    Sampling(temperature=1.0, top_p=0.9, repetition_penalty=1.1, max_tokens=60),
]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def lm(request: pytest.FixtureRequest) -> Any:
    return ot.load("pocket", dtype=request.param, threads=1, kernels="native")


def receipt_of(lm: Any, strategy: Any, sampling: Sampling, drafter: str) -> Receipt:
    """Of a drafted run whose text is that of the plain one."""
    given: dict[str, Any] = {"budget": ot.Budget(written=200), "seed": 3, "sampling": sampling}
    plain = ot.run(strategy, QUESTION, lm, **given)
    drafted = ot.run(strategy, QUESTION, lm, **given, speculate=drafter)
    assert told(drafted) == told(plain)
    assert drafted.receipt is not None and plain.receipt is not None
    assert drafted.receipt.degradations == plain.receipt.degradations
    return drafted.receipt


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("strategy", [Once(), Vote(n=5)], ids=repr)
def test_a_rounded_copy_drafts_the_same_text(lm: Any, strategy: Any, sampling: Sampling) -> None:
    receipt = receipt_of(lm, strategy, sampling, "int8(n=3)")
    tally = receipt.speculation["int8"]
    assert tally.checked >= 10 and tally.accepted / tally.checked > 0.9
    assert receipt.drawn_per_row > 2


def test_its_bytes_are_on_the_receipt(lm: Any) -> None:
    """The copy is held once, about a byte a weight; every draft pass reads it and some cache."""
    receipt = receipt_of(lm, Once(), SAMPLINGS[0], "int8(n=1)")
    tally, params = receipt.speculation["int8"], lm.main.backend.model.config.params
    assert params < tally.state_bytes < 1.1 * params
    passes = tally.drafted  # one stream, one token a draft
    cache = tally.bytes / passes - tally.state_bytes
    assert 0 < cache < 200 * lm.main.prices.slot_bytes


def test_a_drafting_model_has_the_type_of_its_target_or_its_own(lm: Any) -> None:
    own = lm.main.backend.dtype
    for drafter, place, dtype in [
        ("draft_model(model='pocket-mini', n=3)", "pocket-mini", own),
        ("draft_model(model='pocket-mini', n=3, dtype='int8')", "pocket-mini in int8", "int8"),
        ("staged(copy(n=3), model='pocket-mini', n=4, dtype='int8')", "pocket-mini in int8", "int8"),
        ("draft_model(model='pocket', n=3, dtype='int8')", "pocket in int8", "int8"),
    ]:
        receipt = receipt_of(lm, Once(), SAMPLINGS[0], drafter)
        assert lm.places[place].backend.dtype == dtype
        [tally] = [tally for name, tally in receipt.speculation.items() if "/" not in name]
        assert tally.accepted / tally.checked > 0.5, drafter
    assert isinstance(lm.places["pocket in int8"].backend.model.parts.layers[0].qkv, Int8Panels)
    assert lm.main.backend.dtype == own


def test_a_type_that_is_none_is_an_error(lm: Any) -> None:
    with pytest.raises(ValueError, match="dtype 'int9' is not known"):
        ot.run(Once(), QUESTION, lm, speculate="draft_model(dtype='int9')")


def test_a_model_in_8_bits_writes_on_without_a_copy() -> None:
    lm = ot.load(str(embedded()["pocket-mini"]), dtype="int8", threads=1, kernels="native")
    plain = ot.run(Once(), QUESTION, lm, sampling=SAMPLINGS[0])
    drafted = ot.run(Once(), QUESTION, lm, sampling=SAMPLINGS[0], speculate="int8(n=3)")
    assert told(drafted) == told(plain) and drafted.receipt is not None
    [note] = drafted.receipt.degradations
    assert "in 8 bits already" in note.why
