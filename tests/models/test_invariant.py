"""Deterministic torch passes: the bits of a row depend on its own tokens alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from forests import Branch, Forest, evaluate

from outthink.core.batch import Batch, Segment
from outthink.models import Model, ModelError
from outthink.models import invariant as module
from outthink.models.invariant import InBlocks, invariant, keeps_bits
from outthink.models.llama import LeanModel
from outthink.models.loader import load_model

SHAPE = {"max_position_embeddings": 512, "hidden_size": 72, "intermediate_size": 100, "head_dim": 18}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["float32", "bfloat16", "float64", "int8", "gpt2", "gpt2 bfloat16"])
def plain(request: pytest.FixtureRequest, save_tiny: Any) -> Model:
    """A model with odd sizes everywhere, on torch: lean, or through transformers."""
    family, _, dtype = request.param.rpartition(" ") if " " in request.param else ("", "", request.param)
    if "gpt2" in request.param:
        return load_model(save_tiny("gpt2"), dtype if family else "float32", kernels="torch")
    return load_model(save_tiny("qwen3", **SHAPE, num_key_value_heads=2), dtype, kernels="torch")


@pytest.fixture(scope="module")
def model(plain: Model) -> Model:
    torch.set_num_threads(1)
    return invariant(plain)


def long_forest(seed: int) -> Forest:
    """Branches longer than a block of keys, some hanging in the middle of one; at most 256 tokens deep."""
    while True:
        forest = Forest.random(Random(seed), vocab=97, branches=9, longest=80)
        if max(len(forest.path(i)) for i in range(9)) <= 250:
            return forest
        seed += 100


def alone(model: Model, forest: Forest, index: int, at: int) -> torch.Tensor:
    """Logits of one token, its path in one pass of its own."""
    path = forest.prefix(index) + forest.branches[index].tokens[: at + 1]
    whole, _ = Forest([Branch(-1, path, start=7)]).batch({0: len(path)})
    whole.wanted = [len(path) - 1]
    return model.forward(whole, model.new_store(len(path) + 7))[0]


def test_bits_do_not_depend_on_company_chunks_or_slots(model: Model) -> None:
    forest = long_forest(1)
    first, second = (evaluate(model, copy.deepcopy(forest), Random(seed)) for seed in (1, 2))
    both = first.keys() & second.keys()
    assert len(both) > 40
    assert all(torch.equal(first[key], second[key]) for key in both)
    for key in Random(3).sample(sorted(first), 6):
        assert torch.equal(first[key], alone(model, forest, *key)), key


def test_they_are_the_logits_of_a_free_pass(save_tiny: Any) -> None:
    path = save_tiny("qwen3", **SHAPE, num_key_value_heads=2)
    exact, ours = load_model(path, "float64", kernels="torch"), load_model(path, "float32", kernels="torch")
    forest = long_forest(5)
    blocks = evaluate(invariant(ours), copy.deepcopy(forest), Random(7))
    free = evaluate(exact, forest, Random(7))
    for key, row in blocks.items():
        torch.testing.assert_close(row.double(), free[key], atol=1e-4, rtol=0)


def test_other_threads_elsewhere_change_nothing(save_tiny: Any) -> None:
    """A drafting model may set torch's threads: a pass has its own number."""
    torch.set_num_threads(1)
    made, forest = invariant(load_model(save_tiny("llama"), "float32", kernels="torch")), long_forest(2)
    before = evaluate(made, copy.deepcopy(forest), Random(1))
    torch.set_num_threads(2)
    after = evaluate(made, forest, Random(1))
    assert torch.get_num_threads() == 2
    assert all(torch.equal(before[key], after[key]) for key in before)


def free(path: Path, dtype: str) -> LeanModel:
    made = load_model(path, dtype, kernels="torch")
    assert isinstance(made, LeanModel)
    return made


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_test_at_load_sees_passes_that_are_not(save_tiny: Any, dtype: str) -> None:
    """A free pass; and attention in blocks beside products of any number of rows."""
    path = save_tiny("qwen3", **SHAPE, num_key_value_heads=2)
    assert not keeps_bits(free(path, dtype))
    products = free(path, dtype)
    InBlocks(products, 16)
    assert not keeps_bits(products)


class Drifting:
    """Wrong on purpose: a row's logits depend a little on how many rows are wanted with it."""

    def __init__(self, model: Model) -> None:
        self.model, self.config, self.new_store = model, model.config, model.new_store

    def forward(self, batch: Batch, store: Any) -> torch.Tensor:
        logits = self.model.forward(batch, store)
        return logits * (1 + 1e-6 * (len(logits) % 7))


def test_what_does_not_keep_its_bits_is_refused(save_tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_model(save_tiny("llama"), "float32", kernels="torch")
    assert not keeps_bits(Drifting(invariant(made)))
    tried = []
    monkeypatch.setattr(module, "keeps_bits", lambda model: tried.append(model.rows))
    with pytest.raises(ModelError, match="do not keep their bits"):
        invariant(made)
    assert tried == [16, 4, 1]


def test_hidden_states_do_not_depend_on_company_either(model: Model) -> None:
    tokens = [(11 * i) % 90 for i in range(45)]

    def states(upto: int) -> torch.Tensor:
        rows = list(range(upto))
        batch = Batch(
            tokens[:upto], rows, rows, [0] * upto, [i + 1 for i in rows], rows, [Segment(-1, 0, upto)]
        )
        return model.states(batch, model.new_store(upto))

    whole = states(45)
    assert len(whole) == 45 and not torch.equal(whole[3], whole[4])
    for upto in (1, 2, 17, 33):
        assert torch.equal(states(upto), whole[:upto])


def test_one_row_at_a_time(save_tiny: Any) -> None:
    for dtype in ("float32", "bfloat16"):
        made = load_model(save_tiny("llama"), dtype, kernels="torch")
        assert keeps_bits(InBlocks(made, 1))  # type: ignore[arg-type]


def test_a_device_that_was_not_measured_is_refused(save_tiny: Any) -> None:
    made = load_model(save_tiny("llama"), "float32", kernels="torch")
    made.config = replace(made.config, device="cuda")
    with pytest.raises(ModelError, match="device='cpu'"):
        invariant(made)


def test_rows_out_of_order_are_refused(save_tiny: Any) -> None:
    """A block is computed before the next one: a row must not see what comes later."""
    made = invariant(load_model(save_tiny("llama"), "float32", kernels="torch"))
    batch = Batch([5, 6], [1, 0], [1, 0], [0, 0], [2, 1], [0], [Segment(-1, 0, 2)])
    with pytest.raises(ValueError, match="not in order"):
        made.forward(batch, made.new_store(2))
