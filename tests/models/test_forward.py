"""The lean forward computes what transformers computes, however the work is shared and split."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import transformers
from forests import Branch, Forest, evaluate

from outthink.models import load
from outthink.models.linear import Int8Linear, Linear


def reference(
    path: Path, forest: Forest, dtype: torch.dtype = torch.float32
) -> dict[tuple[int, int], torch.Tensor]:
    """Logits of every token of every branch, each path computed alone by transformers."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()
    logits = {}
    with torch.inference_mode():
        for index, branch in enumerate(forest.branches):
            out = model(torch.tensor([forest.path(index)]), use_cache=False).logits[0]
            begin = len(out) - len(branch.tokens)
            logits.update({(index, at): out[begin + at] for at in range(len(branch.tokens))})
    return logits


def check_family(path: Path, seed: int, branches: int = 9, tolerance: float = 1e-4) -> None:
    """Random work on a random forest gives the reference's logits."""
    random = Random(seed)
    forest = Forest.random(random, vocab=97, branches=branches)
    expected = reference(path, forest)
    logits = evaluate(load(path).model, forest, random)
    assert logits
    for key, row in logits.items():
        torch.testing.assert_close(row, expected[key], atol=tolerance, rtol=0, msg=f"{key}")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_random_forests_match_transformers(kernels: str, save_tiny: Any, family: str, seed: int) -> None:
    check_family(save_tiny(family), seed)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_checkpoints_of_16_bits_are_exact_in_float32(
    kernels: str, save_tiny: Any, family: str, seed: int
) -> None:
    check_family(save_tiny(family, dtype="bfloat16"), seed)


@pytest.mark.parametrize("dtype, half", [("float32", False), ("bfloat16", True), ("float16", True)])
def test_only_weights_that_fit_are_kept_in_float16(save_tiny: Any, dtype: str, half: bool) -> None:
    matrices = load(save_tiny("llama", dtype=dtype), kernels="torch").model.layers[0].matrices
    assert [matrix.half is not None for matrix in matrices] == [half] * 4


@pytest.mark.parametrize("size", [1.0, 1e-3, 2.0**-10, 2.0**-30, 2.0**20])
@pytest.mark.parametrize("rows", [1, 3, 9])
def test_layouts_of_a_matrix_agree(size: float, rows: int) -> None:
    weight, bias, x = (
        torch.randn(48, 32).bfloat16().double() * size,
        torch.randn(48).double(),
        torch.randn(rows, 32),
    )
    linear = Linear(weight, bias, torch.float32, torch.device("cpu"))
    expected = x.double() @ weight.float().double().t() + bias
    torch.testing.assert_close(linear(x).double(), expected, atol=1e-5 * max(1.0, size), rtol=0)


VARIANTS: dict[str, dict[str, Any]] = {
    "tied": {"tie_word_embeddings": True},
    "all heads": {"num_key_value_heads": 4},
    "one key head": {"num_key_value_heads": 1},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide heads": {"head_dim": 24},
    "base": {"rope_theta": 500.0},
    "linear": {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 1000.0}},
    "dynamic": {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1000.0}},
    "llama3": {
        "rope_parameters": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
            "rope_theta": 100.0,
        }
    },
    "yarn": {
        "rope_parameters": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 64,
            "rope_theta": 100.0,
        }
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_llama_match_transformers(kernels: str, save_tiny: Any, name: str) -> None:
    check_family(save_tiny("llama", **VARIANTS[name]), seed=5)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_float64_does_not_depend_on_the_split(save_tiny: Any, family: str) -> None:
    model = load(save_tiny(family), dtype="float64").model
    random = Random(7)
    forest = Forest.random(random, vocab=97, branches=12)
    logits = evaluate(model, forest, random)
    for index, at in logits:
        path = forest.prefix(index) + forest.branches[index].tokens[: at + 1]
        alone = Forest([Branch(-1, path)], len(path))
        whole, _ = alone.batch({0: len(path)})
        whole.wanted = [len(path) - 1]
        row = model.forward(whole, model.new_store(len(path)))[0]
        assert row.dtype == torch.float64
        torch.testing.assert_close(logits[index, at], row, atol=1e-9, rtol=0)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_bfloat16_is_as_close_as_transformers(kernels: str, save_tiny: Any, family: str) -> None:
    check_bfloat16(save_tiny(family))


def check_bfloat16(path: Path) -> None:
    """Errors of random work are not above those of transformers."""
    random = Random(8)
    forest = Forest.random(random, vocab=97, branches=12)
    exact, theirs = reference(path, forest), reference(path, forest, torch.bfloat16)
    ours = evaluate(load(path, dtype="bfloat16").model, forest, random)
    error = torch.stack([ours[key] - exact[key] for key in ours]).pow(2).mean().sqrt()
    allowed = torch.stack([theirs[key] - exact[key] for key in ours]).pow(2).mean().sqrt()
    assert error < 1.2 * allowed


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_int8_is_close(kernels: str, save_tiny: Any, family: str) -> None:
    path = save_tiny(family)
    random = Random(9)
    forest = Forest.random(random, vocab=97, branches=12)
    model = load(path, dtype="int8").model
    exact, ours = reference(path, forest), evaluate(model, forest, random)
    error = torch.stack([ours[key] - exact[key] for key in ours])
    assert error.pow(2).mean().sqrt() < 0.06 * torch.stack(list(exact.values())).std()


def test_int8_of_torch_does_not_depend_on_neighbours() -> None:
    x, linear = torch.randn(5, 32), Int8Linear(torch.randn(48, 32), None, torch.device("cpu"))
    assert torch.equal(linear(x)[2:3], linear(x[2:3]))


def test_int8_reads_the_cache_of_its_bfloat16_target(kernels: str, save_tiny: Any) -> None:
    target, draft = (load(save_tiny("llama"), dtype=dtype).model for dtype in ("bfloat16", "int8"))
    tokens = [5, 9, 2, 7, 11, 3]
    whole, _ = Forest([Branch(-1, tokens)], 6).batch({0: 6})
    whole.wanted = [5]
    store = target.new_store(6)
    expected = target.forward(whole, store)[0]
    last, _ = Forest([Branch(-1, tokens, done=5)], 6).batch({0: 1})
    last.wanted = [0]
    logits = draft.forward(last, store)[0]
    assert (logits - expected).pow(2).mean().sqrt() < 0.1 * expected.std()


def test_gpt2_in_bfloat16_is_as_close_as_transformers(save_tiny: Any) -> None:
    check_bfloat16(save_tiny("gpt2"))


def test_shards_are_one_model(save_tiny: Any) -> None:
    path = save_tiny("llama", shard="30KB")
    assert len(list(path.glob("*.safetensors"))) > 1
    check_family(path, seed=6)
