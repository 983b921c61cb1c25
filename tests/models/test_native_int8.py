"""The native kernels in 8 bits: the same whole sums as torch's, to the bit, and a draft's copy of a model."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import LEVELS
from forests import Forest, evaluate

from outthink.core.batch import Batch, Segment
from outthink.core.jobs import Variant
from outthink.models import ModelError
from outthink.models.assemble import Parts
from outthink.models.int8_panels import DEEPEST, Int8Panels
from outthink.models.levels import _native
from outthink.models.linear import Int8Linear
from outthink.models.loader import load_model
from outthink.models.native import NativeModel
from outthink.models.panels import Panels

pytestmark = pytest.mark.skipif(_native is None, reason="the native extension is not built")


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    if request.param not in _native.levels():
        pytest.skip(f"this processor has no {request.param}")
    name: str = request.param
    return name


def headed(
    model: NativeModel, weight: torch.Tensor, bias: torch.Tensor | None, rows: torch.Tensor
) -> NativeModel:
    """A model of no layers: the norm of row i of `rows` meets `weight`."""
    outputs, depth = weight.shape
    shape = replace(model.shape, vocab=max(outputs, len(rows)), hidden=depth, layers=0)
    embed = torch.zeros(shape.vocab, depth)
    embed[: len(rows)] = rows
    gain = torch.zeros(-(-depth // 64) * 64)
    gain[:depth] = 1 + torch.rand(depth) * depth**0.5
    parts = Parts([], embed, Int8Panels.pack(weight, bias), gain, gain)  # type: ignore[arg-type]
    return NativeModel(shape, model.config, parts, torch.float32, model.level)


def product(model: NativeModel, rows: list[int], threads: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head is given, and what it makes of it."""
    n, model.threads = len(rows), threads
    counted, ones = list(range(n)), [1] * n
    batch = Batch(rows, [0] * n, counted, counted, ones, counted, [Segment(-1, i, 1) for i in counted])
    outputs = model.parts.head.outputs
    given = model.forward(batch, model.new_store(n), hidden=True)
    return given, model.forward(batch, model.new_store(n))[:, :outputs]


@pytest.fixture
def tiny(save_tiny: Any, level: str) -> NativeModel:
    model = load_model(save_tiny("llama"), kernels=level)
    assert isinstance(model, NativeModel)
    return model


@pytest.mark.parametrize("outputs, depth", [(64, 64), (97, 70), (130, 3), (1, 129), (200, 333)])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_torchs_to_the_bit(tiny: NativeModel, outputs: int, depth: int, biased: bool) -> None:
    """So every level computes the same, for any number of rows and threads."""
    torch.manual_seed(outputs + depth)
    rows = torch.randn(20, depth) * torch.logspace(-8, 8, 20).unsqueeze(1)
    rows[3] = 0.0
    rows[4] = 1.0  # every number is 127
    weight, bias = torch.randn(outputs, depth), torch.randn(outputs) if biased else None
    weight[0] = 0.0
    model, linear = headed(tiny, weight, bias, rows), Int8Linear(weight, bias, torch.device("cpu"))
    for count, threads in [(1, 1), (2, 3), (3, 2), (7, 2), (8, 3), (9, 3), (20, 2)]:
        given, ours = product(model, list(range(count)), threads)
        assert torch.equal(ours, linear(given)), count


def test_error_is_within_half_a_step_of_either_side(tiny: NativeModel) -> None:
    """|y - a w| <= t/2 sum |a| + s/2 sum |w| + depth s t / 4, which the largest errors come near to."""
    torch.manual_seed(1)
    weight = torch.randn(300, 40)
    given, ours = product(headed(tiny, weight, None, torch.randn(16, 40)), list(range(16)))
    a, w = given.double(), weight.double()
    s, t = a.abs().amax(1, keepdim=True) / 127, w.abs().amax(1, keepdim=True).t() / 127
    most = t / 2 * a.abs().sum(1, keepdim=True) + s / 2 * w.abs().sum(1) + 40 * s * t / 4
    error = (ours - a @ w.t()).abs()
    assert (error <= most * (1 + 1e-5)).all()
    assert (error / most).max() > 0.2


def test_the_deepest_sum_fits(tiny: NativeModel) -> None:
    """Numbers as large as they get, all of one sign: the sum is 127^2 times the depth."""
    sign = torch.tensor([1.0, -1.0]).unsqueeze(1)
    model = headed(tiny, sign * torch.ones(2, DEEPEST), None, torch.ones(2, DEEPEST) * sign)
    model.parts.gain[:] = 1.0
    given, ours = product(model, [0, 1])
    torch.testing.assert_close(ours, given @ model.parts.embed.t(), rtol=1e-5, atol=0)
    with pytest.raises(ModelError, match=r"65537 inputs.*dtype='bfloat16'"):
        Int8Panels.pack(torch.zeros(1, DEEPEST + 1), None)


def test_a_row_that_is_not_finite_gives_nothing_else(tiny: NativeModel) -> None:
    torch.manual_seed(2)
    rows = torch.randn(10, 70)
    model = headed(tiny, torch.randn(97, 70), None, rows)
    before = product(model, list(range(10)))[1]
    model.parts.embed[5, 69] = float("nan")
    after = product(model, list(range(10)))[1]
    assert after[5].isnan().all()
    assert torch.equal(after[[0, 4, 6, 9]], before[[0, 4, 6, 9]])


BIASES = {
    "attention_bias": True,
    "mlp_bias": True,
    "hidden_size": 72,
    "intermediate_size": 100,
    "head_dim": 18,
}


@pytest.mark.parametrize("family, changes", [("llama", BIASES), ("qwen2", {}), ("qwen3", {})])
def test_a_pass_is_torchs(save_tiny: Any, level: str, family: str, changes: dict[str, Any]) -> None:
    """But where a number lay so close to the middle of two that a last bit decided: in one forest of three,
    say, where an early row of it changes all that see it."""
    path = save_tiny(family, dtype="bfloat16", num_hidden_layers=1, **changes)
    models = [load_model(path, "int8", kernels=name) for name in (level, "torch")]
    medians = []
    for seed in (4, 5, 6):
        forest = Forest.random(Random(seed), vocab=97, branches=12)
        ours, theirs = (
            evaluate(model, replace(forest, branches=fresh(forest)), Random(5)) for model in models
        )
        scale = torch.stack(list(theirs.values())).std()
        errors = torch.tensor([(ours[key] - theirs[key]).abs().max() / scale for key in theirs])
        assert errors.max() < 0.2
        medians.append(errors.median())
    assert sorted(medians)[1] < 1e-5


def fresh(forest: Forest) -> list[Any]:
    return [replace(branch) for branch in forest.branches]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_copy_in_8_bits_drafts_on_the_cache_of_its_model(save_tiny: Any, level: str, dtype: str) -> None:
    """It reads the model's keys and values, is close to the model, and writes its own slot alone."""
    model = load_model(save_tiny("qwen2", dtype=dtype), dtype, kernels=level)
    assert isinstance(model, NativeModel)
    tokens, store = [5, 9, 2, 7, 11, 3], model.new_store(10)
    rows = list(range(6))
    whole = Batch(tokens, rows, rows, [0] * 6, list(range(1, 7)), [5], [Segment(-1, 0, 6)])
    expected = model.forward(whole, store)[0]
    before = store.data.clone()
    tip = Batch([3], [5], [9], [1], [1], [0], [Segment(-1, 0, 5), Segment(0, 9, 1)])
    ours = model.variant(Variant(is_int8=True)).forward(tip, store)[0]
    assert 0 < (ours - expected).pow(2).mean().sqrt() < 0.1 * expected.std()
    assert (store.data != before).flatten(2).any(-1).any(0).nonzero().tolist() == [[9]]


def test_bits_of_a_copy_do_not_depend_on_company(save_tiny: Any, level: str) -> None:
    model = load_model(
        save_tiny("llama", hidden_size=72, head_dim=18, max_position_embeddings=512), kernels=level
    )
    assert isinstance(model, NativeModel)
    copy = model.variant(Variant(is_int8=True))
    draft: Any = SimpleNamespace(forward=copy.forward, new_store=copy.new_store, config=model.config)
    forest, seen = Forest.random(Random(6), vocab=97, branches=14, longest=60), []
    for seed, model.threads in [(1, 1), (2, 2), (3, 3)]:
        seen.append(evaluate(draft, replace(forest, branches=fresh(forest)), Random(seed)))
    for other in seen[1:]:
        both = seen[0].keys() & other.keys()
        assert len(both) > 20
        assert all(torch.equal(seen[0][key], other[key]) for key in both)


def test_layers_can_be_left_out_of_a_copy(save_tiny: Any, level: str) -> None:
    model = load_model(save_tiny("llama", dtype="bfloat16"), kernels=level)
    assert isinstance(model, NativeModel)
    draft, some = model.variant(Variant(is_int8=True)), model.variant(Variant((0, 2), is_int8=True))
    assert draft.copy is some.copy is not None  # one copy for both
    batch = Batch([5], [0], [0], [0], [1], [0], [Segment(-1, 0, 1)])
    expected = model.variant(Variant((0, 2))).forward(batch, model.new_store(1))
    ours = some.forward(batch, model.new_store(1))
    assert 0 < (ours - expected).pow(2).mean().sqrt() < 0.1 * expected.std()


@pytest.mark.parametrize("wide", [False, True])
def test_panels_are_rounded_as_the_matrix_they_were_made_of(wide: bool) -> None:
    torch.manual_seed(3)
    weight, bias = torch.randn(150, 33), torch.randn(150)
    if not wide:
        weight = weight.bfloat16().float()
    panels = Panels.pack(weight, bias, torch.float32)
    assert panels.wide is wide
    ours, direct = panels.rounded(), Int8Panels.pack(weight, bias)
    assert torch.equal(ours.data, direct.data) and torch.equal(ours.scales, direct.scales)
    assert ours.bias is not None and torch.equal(ours.bias[:150], bias)


def test_a_model_in_8_bits_has_no_copy_in_8_bits(save_tiny: Any) -> None:
    model = load_model(save_tiny("llama"), "int8", kernels="native")
    assert isinstance(model, NativeModel)
    with pytest.raises(ModelError, match="in 8 bits already"):
        model.variant(Variant(is_int8=True))


def test_memory_is_about_a_byte_a_weight(save_tiny: Any) -> None:
    model = load_model(save_tiny("llama", tie_word_embeddings=False), kernels="native")
    assert isinstance(model, NativeModel)
    draft = model.variant(Variant(is_int8=True))
    # hidden 32, 4 heads and 2 key heads of 8, 48 inside, 3 layers, 97 words; whole panels, a scale an output
    layer = 64 * (32 + 4) + 64 * (32 + 4) + 128 * (32 + 4) + 64 * (48 + 4)
    assert draft.state_bytes == 3 * layer + 128 * (32 + 4) == draft.weight_bytes
    assert model.variant(Variant((0, 2), is_int8=True)).weight_bytes == 2 * layer + 128 * (32 + 4)
    assert model.variant(Variant((0, 2))).state_bytes == 0
