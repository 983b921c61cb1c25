"""Tiny models of every family, built by transformers and saved, and random batches over random trees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

from outthink.models.errors import ModelError
from outthink.models.levels import choose_kernels

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT2 = {
    "vocab_size": 97,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 256,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

Save = Callable[..., Path]


def tiny_config(family: str, **changes: Any) -> transformers.PreTrainedConfig:
    """A small configuration of a family."""
    base: dict[str, Any] = dict(GPT2 if family == "gpt2" else SMALL)
    if family == "mistral":
        base["sliding_window"] = None
    if family == "qwen3":
        base["head_dim"] = 16
    return transformers.AutoConfig.for_model(family, **{**base, **changes})


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Random numbers for gains and biases too, which initialisers leave at one and zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.copy_(0.1 * noise if name.endswith("bias") else 1 + 0.3 * noise)
            else:
                parameter.copy_(0.2 * noise)


def save_tokenizer(path: Path, size: int = 97) -> None:
    """A word-level tokenizer of `size` words w0, w1, ..."""
    core = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({f"w{i}": i for i in range(size)}, unk_token="w0")
    )
    core.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    core.save(str(path / "tokenizer.json"))


LEVELS = ("avx512bf16", "avx512", "avx2", "generic")


@pytest.fixture(params=["torch", *LEVELS])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way of computing a pass that this machine has; what is loaded in the test runs on it."""
    name: str = request.param
    try:
        choose_kernels(name, "float32", torch.device("cpu"))
    except ModelError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("OUTTHINK_KERNELS", name)
    return name


@pytest.fixture(scope="session")
def save_tiny(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Make, once, a random tiny model of a family with changes to its configuration; return its directory."""
    made: dict[str, Path] = {}

    def save(family: str, *, shard: str | None = None, dtype: str = "float32", **changes: Any) -> Path:
        key = f"{family} {shard} {dtype} {sorted(changes.items())}"
        if key not in made:
            path = tmp_path_factory.mktemp(family)
            model = transformers.AutoModelForCausalLM.from_config(tiny_config(family, **changes))
            randomise(model, seed=len(made))
            model.to(getattr(torch, dtype))
            model.save_pretrained(path, **({"max_shard_size": shard} if shard else {}))
            save_tokenizer(path)
            made[key] = path
        return made[key]

    return save
