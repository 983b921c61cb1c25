"""Products of bfloat16 numbers, two an instruction: what they are products of, and how exact they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from outthink.core.batch import Batch, Segment
from outthink.core.jobs import Variant
from outthink.models.assemble import Parts
from outthink.models.levels import PAIRS, _native
from outthink.models.loader import load_model
from outthink.models.native import NativeModel
from outthink.models.pair_panels import PairPanels
from outthink.models.panels import Panels

pytestmark = pytest.mark.skipif(
    _native is None or PAIRS not in _native.levels(), reason="no products of bfloat16 numbers here"
)


@pytest.fixture
def tiny(save_tiny: Any) -> NativeModel:
    model = load_model(save_tiny("llama"), "bfloat16", kernels=PAIRS)
    assert isinstance(model, NativeModel) and isinstance(model.parts.head, PairPanels)
    return model


@pytest.mark.parametrize("outputs, depth", [(64, 64), (97, 70), (130, 3), (1, 129), (200, 333)])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_that_of_rounded_numbers(
    tiny: NativeModel, outputs: int, depth: int, biased: bool
) -> None:
    """Both sides rounded to bfloat16, sums in float32, and the same bits for any rows and threads."""
    torch.manual_seed(outputs + depth)
    rows, weight = torch.randn(20, depth), torch.randn(outputs, depth)
    bias = torch.randn(outputs) if biased else None
    shape = replace(tiny.shape, vocab=max(outputs, 20), hidden=depth, layers=0)
    embed = torch.zeros(shape.vocab, depth)
    embed[:20] = rows
    gain = torch.zeros(-(-depth // 64) * 64)
    gain[:depth] = 1 + torch.rand(depth) * depth**0.5
    parts = Parts([], embed, PairPanels.pack(weight, bias), gain, gain)  # type: ignore[arg-type]
    model = NativeModel(shape, tiny.config, parts, torch.bfloat16, PAIRS)
    seen: dict[int, torch.Tensor] = {}
    many = [i % 20 for i in range(230)]
    for some, threads in (([*range(20)], 1), ([*range(20)], 2), ([7], 1), ([3, 7, 11], 2), (many, 2)):
        n, model.threads = len(some), threads
        counted = list(range(n))
        batch = Batch(some, [0] * n, counted, counted, [1] * n, counted, [Segment(-1, i, 1) for i in counted])
        given = model.forward(batch, model.new_store(n), hidden=True)
        made = model.forward(batch, model.new_store(n))[:, :outputs]
        for row, got in zip(some, made, strict=True):
            assert torch.equal(seen.setdefault(row, got), got)
        left, right = given.bfloat16().double(), weight.bfloat16().double()
        exact = left @ right.T + (0.0 if bias is None else bias.double())
        room = (left.abs() @ right.abs().T + 10.0) * 2.0**-22 * (depth / 16 + 4)
        assert ((made.double() - exact).abs() <= room).all()


@pytest.mark.parametrize("head_dim", [8, 32, 64])
def test_a_pass_is_as_close_as_bfloat16_throughout(save_tiny: Any, head_dim: int) -> None:
    """Nearer to the exact pass than one that rounds every step to bfloat16."""
    path = save_tiny("llama", dtype="bfloat16", head_dim=head_dim)
    exact, fast = load_model(path, "float64"), load_model(path, "bfloat16", kernels=PAIRS)
    wide = load_model(path, "bfloat16", kernels="torch")
    n = 75  # more than a block of keys
    counted = list(range(n))
    batch = Batch(
        [(7 * i) % 90 for i in counted], counted, counted, [0] * n, [i + 1 for i in counted], counted,
        [Segment(-1, 0, n)],
    )  # fmt: skip
    truth, ours, theirs = (m.forward(batch, m.new_store(n)).double() for m in (exact, fast, wide))
    assert (ours - truth).abs().mean() < (theirs - truth).abs().mean()


def test_panels_are_rounded_to_8_bits_as_the_matrix_they_were_made_of() -> None:
    weight, bias = torch.randn(97, 71).bfloat16().float(), torch.randn(97)
    ours, direct = PairPanels.pack(weight, bias).rounded(), Panels.pack(weight, bias, torch.float32).rounded()
    assert torch.equal(ours.data, direct.data) and torch.equal(ours.scales, direct.scales)


def test_other_types_have_the_kernels_without_the_matrices(save_tiny: Any) -> None:
    model = load_model(save_tiny("llama"), "float32", kernels=PAIRS)
    assert isinstance(model, NativeModel) and model.level == "avx512"
    assert isinstance(model.parts.head, Panels)


def test_it_drafts_in_8_bits_too(tiny: NativeModel) -> None:
    draft = tiny.variant(Variant(is_int8=True))
    batch = Batch([3, 4], [0, 1], [0, 1], [0, 0], [1, 2], [1], [Segment(-1, 0, 2)])
    ours, whole = draft.forward(batch, tiny.new_store(2)), tiny.forward(batch, tiny.new_store(2))
    assert (ours - whole).abs().max() < 0.1 * whole.abs().max()
