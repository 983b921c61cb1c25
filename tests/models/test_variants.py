"""Variants of torch models: what is left out is as if it added nothing; 8 bits are near."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import pytest
import torch
from forests import Forest, evaluate
from scripted import told
from transformers.pytorch_utils import Conv1D

import outthink as ot
from outthink.core.batch import Batch, Segment
from outthink.core.jobs import Variant
from outthink.models import ModelError, load
from outthink.models.base import Model
from outthink.models.linear import Int8Linear, Linear
from outthink.models.variants import Rounded

FAMILIES = ["llama", "qwen3", "gpt2", "gpt_neox"]
DRAFTERS = ["int8(n=3)", "skip(leave_out=(1,), n=3, least=0.0)", "exit(layer=1, n=2, least=0.0)"]


class Through:
    """A model that evaluates rows on a variant, and leaves what the model itself left in the cache."""

    def __init__(self, model: Any, variant: Variant) -> None:
        self.model, self.config, self.variant = model, model.config, model.variant(variant)

    def new_store(self, slots: int) -> Any:
        return self.model.new_store(slots)

    def forward(self, batch: Batch, store: Any) -> torch.Tensor:
        return self.variant.forward(batch, store)  # type: ignore[no-any-return]


def rows_of(model: Any) -> dict[tuple[int, int], torch.Tensor]:
    forest = Forest.random(Random(4), model.config.vocab, branches=4)
    return evaluate(model, forest, Random(7))


def tiny(save_tiny: Any, family: str, dtype: str = "float64", **changes: Any) -> Model:
    return load(save_tiny(family, **changes), dtype=dtype, kernels="torch").model


@pytest.mark.parametrize("family", FAMILIES)
def test_all_layers_are_the_model(save_tiny: Any, family: str) -> None:
    model = tiny(save_tiny, family)
    all_layers = Variant(tuple(range(model.config.layers)))
    plain, through = rows_of(model), rows_of(Through(model, all_layers))
    for key, row in plain.items():
        torch.testing.assert_close(through[key], row, rtol=1e-9, atol=1e-9)


def silenced(model: Any) -> Any:
    """The model, but its first block adds nothing to the stream."""
    made: Any = copy.deepcopy(model)
    if model.config.lean:
        for matrix in (made.layers[0].out, made.layers[0].down):
            matrix.plain = torch.zeros_like(matrix.dense()).t()
            matrix.packed = matrix.half = matrix.single = matrix.bias = None
        made.row = None
        return made
    body = made.network.base_model
    block = body.h[0] if model.config.family == "gpt2" else body.layers[0]
    into = (block.attn.c_proj, block.mlp.c_proj) if model.config.family == "gpt2" else (
        block.attention.dense, block.mlp.dense_4h_to_h
    )  # fmt: skip
    for matrix in into:
        torch.nn.init.zeros_(matrix.weight)
        torch.nn.init.zeros_(matrix.bias)
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_left_out_are_as_if_they_added_nothing(save_tiny: Any, family: str) -> None:
    """The model reads a text; one row more, on that cache, by the variant and by the silenced model."""
    model: Any = tiny(save_tiny, family)
    text = Batch([3, 5, 7, 2], [0, 1, 2, 3], [0, 1, 2, 3], [0] * 4, [1, 2, 3, 4], [3], [Segment(-1, 0, 4)])
    more = Batch([8], [4], [4], [1], [1], [0], [Segment(-1, 0, 4), Segment(0, 4, 1)])

    def last(reader: Any) -> torch.Tensor:
        store = model.new_store(5)
        model.forward(text, store)
        return reader.forward(more, store)  # type: ignore[no-any-return]

    kept = tuple(range(1, model.config.layers))
    found = last(model.variant(Variant(kept)))
    assert (found - last(model)).abs().max() > 1e-3, "nothing was left out"
    torch.testing.assert_close(found, last(silenced(model)), rtol=1e-9, atol=1e-9)


def matrices(model: Any) -> list[Any]:
    """Whatever multiplies rows by weights."""
    if model.config.lean:
        return [*(matrix for layer in model.layers for matrix in layer.matrices), model.head]
    kinds = (torch.nn.Linear, Conv1D, Rounded)
    return [module for module in model.network.modules() if isinstance(module, kinds)]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_eight_bits_are_near_and_not_the_same(save_tiny: Any, family: str, dtype: str) -> None:
    model: Any = tiny(save_tiny, family, dtype)
    plain, rounded = rows_of(model), rows_of(Through(model, Variant(is_int8=True)))
    worst = max(float((rounded[key] - row).abs().max()) for key, row in plain.items())
    size = max(float(row.abs().max()) for row in plain.values())
    assert 0 < worst < 0.2 * size
    variant = model.variant(Variant(is_int8=True))
    assert 0 < variant.state_bytes < 1.5 * model.config.params
    assert model.state_bytes == 0
    assert all(type(matrix) in (Int8Linear, Rounded) for matrix in matrices(variant)), "one was not rounded"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_matrix_gives_its_weights_back(dtype: torch.dtype) -> None:
    weight = torch.randn(24, 40, dtype=torch.float64).to(dtype)
    for given in (weight, weight.bfloat16().to(dtype)):  # with and without the layout of 16 bits
        assert torch.equal(Linear(given, None, dtype, torch.device("cpu")).dense().to(dtype), given)


def test_no_weight_is_copied_for_layers_left_out(save_tiny: Any) -> None:
    model: Any = tiny(save_tiny, "gpt2")
    own = {parameter.data_ptr() for parameter in model.network.parameters()}
    variant = model.variant(Variant((0,)))
    assert {parameter.data_ptr() for parameter in variant.network.parameters()} < own
    assert len(model.network.base_model.h) == model.config.layers, "the model itself is as it was"


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize(
    ("family", "dtype"), [("gpt2", "float32"), ("gpt2", "bfloat16"), ("llama", "float32")]
)
def test_they_draft_and_the_text_stays(save_tiny: Any, family: str, dtype: str, drafter: str) -> None:
    lm = ot.load(str(save_tiny(family)), dtype=dtype, kernels="torch", threads=1, deterministic=True)
    sampling = ot.Sampling(max_tokens=20, ignore_eos=True)
    plain = ot.run("vote(n=3)", "abc", lm, sampling=sampling)
    drafted = ot.run("vote(n=3)", "abc", lm, sampling=sampling, speculate=drafter)
    assert told(drafted) == told(plain) and drafted.receipt is not None
    [tally] = drafted.receipt.speculation.values()
    assert drafted.receipt.degradations == plain.receipt.degradations  # type: ignore[union-attr]
    assert tally.checked > 20 and (tally.accepted > 0.5 * tally.checked or "int8" not in drafter)
    assert (tally.state_bytes > 0) == ("int8" in drafter) and tally.bytes > 0
    lm.close()


def test_a_model_in_8_bits_has_no_8_bit_copy(save_tiny: Any) -> None:
    model: Any = tiny(save_tiny, "llama", "int8")
    with pytest.raises(ModelError, match="in 8 bits already"):
        model.variant(Variant(is_int8=True))
