"""What is wrong with a model directory is said in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_tokenizer
from safetensors.torch import load_file, save_file

from outthink.core.batch import Batch, Segment
from outthink.models import ModelError, load
from outthink.models.weights import check_finite


@pytest.fixture
def directory(save_tiny: Any, tmp_path: Path) -> Path:
    """A copy of a good tiny model, to be damaged."""
    path = tmp_path / "model"
    shutil.copytree(save_tiny("llama"), path)
    return path


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Damage that changes the tensors."""

    def damage(path: Path) -> None:
        tensors = load_file(path / "model.safetensors")
        change(tensors)
        save_file(tensors, path / "model.safetensors", {"format": "pt"})

    return damage


def settings(**changes: Any) -> Callable[[Path], None]:
    """Damage that changes config.json; None removes."""

    def damage(path: Path) -> None:
        config = json.loads((path / "config.json").read_text()) | changes
        kept = {key: value for key, value in config.items() if value is not None}
        (path / "config.json").write_text(json.dumps(kept))

    return damage


def cut(name: str, keep: Callable[[int], int]) -> Callable[[Path], None]:
    """Damage that cuts a file off."""

    def damage(path: Path) -> None:
        raw = (path / name).read_bytes()
        (path / name).write_bytes(raw[: keep(len(raw))])

    return damage


def patch(name: str, at: int, new: bytes) -> Callable[[Path], None]:
    """Damage that overwrites bytes of a file."""

    def damage(path: Path) -> None:
        raw = bytearray((path / name).read_bytes())
        raw[at : at + len(new)] = new
        (path / name).write_bytes(raw)

    return damage


def remove(name: str) -> Callable[[Path], object]:
    return lambda path: (path / name).unlink()


WEIGHTS = "model.safetensors"
NORM, DOWN = "model.norm.weight", "model.layers.1.mlp.down_proj.weight"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (remove("config.json"), "config.json is missing"),
    "empty config": (cut("config.json", lambda n: 0), "cannot be read as JSON"),
    "half a config": (cut("config.json", lambda n: n // 2), "cannot be read as JSON"),
    "config is a list": (lambda path: (path / "config.json").write_text("[1]"), "holds a list"),
    "no model type": (settings(model_type=None), "no model_type"),
    "unknown model type": (settings(model_type="frobnicate"), "transformers cannot load"),
    "no layers": (settings(num_hidden_layers=None), "num_hidden_layers must be"),
    "layers as text": (settings(num_hidden_layers="3"), "num_hidden_layers must be"),
    "epsilon as text": (settings(rms_norm_eps="x"), "rms_norm_eps must be a number"),
    "rope's base as text": (settings(rope_theta="x", rope_parameters=None), "rope_theta must be a number"),
    "heads do not divide": (settings(num_key_value_heads=3), "4 heads, 3 kv heads"),
    "unknown rope": (settings(rope_parameters={"rope_type": "spiral"}), "rope scaling 'spiral'"),
    "rope lacks a number": (
        settings(rope_parameters={"rope_type": "llama3", "factor": 2}),
        "lacks low_freq_factor",
    ),
    "quantized": (settings(quantization_config={"quant_method": "gptq"}), "quantized"),
    "no weights": (remove(WEIGHTS), "neither model.safetensors nor"),
    "empty weights": (cut(WEIGHTS, lambda n: 0), "not a whole safetensors file"),
    "cut in the header": (cut(WEIGHTS, lambda n: 100), "not a whole safetensors file"),
    "cut in the data": (cut(WEIGHTS, lambda n: n - 10), "not a whole safetensors file"),
    "header length too large": (patch(WEIGHTS, 0, b"\xff" * 8), "not a whole safetensors file"),
    "header is not JSON": (patch(WEIGHTS, 8, b"xxxx"), "not a whole safetensors file"),
    "a tensor is missing": (weights(lambda t: t.pop(NORM)), f"have no {NORM}"),
    "a tensor is misshapen": (
        weights(lambda t: t.update({NORM: torch.ones(31)})),
        r"shape \[31\].* says \[32\]",
    ),
    "a tensor is not floating": (
        weights(lambda t: t.update({NORM: torch.ones(32).int()})),
        "not floating point",
    ),
    "a number is NaN": (
        weights(lambda t: t[DOWN].view(-1)[7].fill_(torch.nan)),
        "layers.1.mlp.down_proj.weight has 1 of 1536 numbers that are NaN or infinite",
    ),
    "infinite both ways": (
        weights(lambda t: t[NORM][:2].copy_(torch.tensor([torch.inf, -torch.inf]))),
        f"{NORM} has 2 of 32 numbers",
    ),
    "an unknown tensor": (weights(lambda t: t.update({"model.layers.0.extra": torch.ones(1)})), "no use for"),
    "fewer layers than weights": (settings(num_hidden_layers=2), "no use for model.layers.2"),
    "another vocabulary": (settings(vocab_size=96), "shape"),
    "larger tokenizer": (lambda path: save_tokenizer(path, 98), "ids up to 97, the model knows 97 tokens"),
    "no tokenizer": (remove("tokenizer.json"), "no tokenizer.json"),
    "half a tokenizer": (cut("tokenizer.json", lambda n: n // 2), "not a tokenizer"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_in_one_line(directory: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    damage(directory)
    with pytest.raises(ModelError, match=message) as caught:
        load(directory)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


SHARDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard is missing": (lambda path: sorted(path.glob("*.safetensors"))[1].unlink(), "is missing"),
    "index without a map": (lambda path: index(path).write_text("{}"), "no weight_map"),
    "index leads outside": (
        lambda path: index(path).write_text(json.dumps({"weight_map": {"x": "../../secret"}})),
        "outside the directory",
    ),
}


def index(path: Path) -> Path:
    return path / "model.safetensors.index.json"


@pytest.mark.parametrize("name", SHARDS)
def test_damage_to_shards(save_tiny: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / "model"
    shutil.copytree(save_tiny("llama", shard="30KB"), path)
    damage, message = SHARDS[name]
    damage(path)
    with pytest.raises(ModelError, match=message):
        load(path)


def test_hf_models_miss_tensors_too(save_tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(save_tiny("gpt2"), path)
    weights(lambda tensors: tensors.pop("transformer.h.1.mlp.c_fc.weight"))(path)
    with pytest.raises(ModelError, match="no fitting"):
        load(path)


def test_hf_models_with_nan_are_refused_too(save_tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(save_tiny("gpt2"), path)
    weights(lambda tensors: tensors["transformer.h.1.mlp.c_fc.weight"].view(-1)[3].fill_(torch.nan))(path)
    with pytest.raises(
        ModelError, match=r"transformer.h.1.mlp.c_fc.weight has 1 of \d+ numbers that are NaN"
    ):
        load(path)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float32])
def test_large_numbers_that_add_up_beyond_a_type_are_no_damage(dtype: torch.dtype) -> None:
    check_finite(torch.full((10_000,), torch.finfo(dtype).max).to(dtype), "a tensor")


def test_arguments_are_checked(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="dtype 'float8'"):
        load(directory, dtype="float8")
    with pytest.raises(ModelError, match="device 'abacus'"):
        load(directory, device="abacus")


@pytest.mark.parametrize(
    "family, changes, limit, why",
    [
        ("llama", {}, 256, "max_position_embeddings"),
        ("mistral", {"sliding_window": 20}, 20, "sliding_window"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            256,
            "dynamic",
        ),
    ],
)
def test_positions_end_with_a_reason(
    save_tiny: Any, family: str, changes: dict[str, Any], limit: int, why: str
) -> None:
    model = load(save_tiny(family, **changes)).model
    assert model.config.max_positions == limit
    store = model.new_store(1)
    batch = Batch([1], [limit - 1], [0], [0], [1], [0], [Segment(-1, 0, 1)])
    assert model.forward(batch, store).isfinite().all()
    batch.positions = [limit]
    with pytest.raises(ModelError, match=why):
        model.forward(batch, store)


def test_config_counts(save_tiny: Any) -> None:
    config = load(save_tiny("llama", tie_word_embeddings=True)).config
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48 + 2 * 32
    assert config.params == 97 * 32 + 3 * layer + 32
    assert config.bytes == 4 * config.params
    assert config.cache_bytes_per_slot == 2 * 3 * 2 * 8 * 4
    assert load(save_tiny("llama")).config.params == config.params + 97 * 32
