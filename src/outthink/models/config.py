"""Reading config.json: the shape of a lean model, and why another model is not lean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outthink.models.errors import ModelError
from outthink.models.rope import Rope, parse_rope

LEAN = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class Shape:
    """What the lean forward needs to know of a checkpoint."""

    family: str
    vocab: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    max_positions: int
    limit: str  # what sets max_positions
    eps: float
    tied: bool
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    head_norm: bool
    rope: Rope

    @property
    def group(self) -> int:
        """Query heads per key head."""
        return self.heads // self.kv_heads


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file that must exist."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; give a Hugging Face model directory that has it") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}); download it again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__}, not an object; download it again")
    return value


def read_config(directory: Path) -> dict[str, Any]:
    """config.json of a model directory."""
    if not directory.is_dir():
        raise ModelError(f"{directory} is not a directory; give the path of a Hugging Face model directory")
    config = read_json(directory / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{directory / 'config.json'} has no model_type; it does not describe a model")
    return config


def not_lean(config: Mapping[str, Any]) -> str | None:
    """Why a model must run through transformers, or None when the lean forward can run it."""
    if config["model_type"] not in LEAN:
        return f"model_type {config['model_type']!r} has no lean forward"
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        return f"hidden_act {config['hidden_act']!r} has no lean forward"
    return None


def parse_shape(config: Mapping[str, Any]) -> Shape:
    """The shape of a lean model; raises ModelError when a number is missing or does not fit."""
    if config.get("quantization_config"):
        raise ModelError(
            "the checkpoint is quantized; give the original weights, and dtype='int8' if it must be small"
        )
    family = config["model_type"]
    hidden, heads = _count(config, "hidden_size"), _count(config, "num_attention_heads")
    kv_heads = _count(config, "num_key_value_heads", 8 if family == "mistral" else heads)
    head_dim = _count(config, "head_dim", 128 if family == "qwen3" else hidden // heads)
    if heads % kv_heads or head_dim % 2:
        raise ModelError(
            f"config.json does not fit: {heads} heads, {kv_heads} kv heads of {head_dim}; correct it"
        )
    rope = parse_rope(config, head_dim, _count(config, "max_position_embeddings", 2048))
    positions, limit = _positions(config, rope)
    bias = bool(config.get("attention_bias", False))
    return Shape(
        family=family,
        vocab=_count(config, "vocab_size"),
        layers=_count(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=_count(config, "intermediate_size"),
        max_positions=positions,
        limit=limit,
        eps=_number(config, "rms_norm_eps", 1e-6),
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=bias or family == "qwen2",
        out_bias=bias and family in ("llama", "qwen3"),
        mlp_bias=bool(config.get("mlp_bias", False)) and family == "llama",
        head_norm=family == "qwen3",
        rope=rope,
    )


def _positions(config: Mapping[str, Any], rope: Rope) -> tuple[int, str]:
    """How many positions are exact, and what limits them."""
    window = config.get("sliding_window")
    sliding = config["model_type"] == "mistral" or config.get("use_sliding_window", False)
    if window and sliding and window < rope.positions:
        return int(window), "sliding_window"
    if rope.kind == "dynamic":
        return rope.positions, "dynamic rope scaling (beyond it, cached keys would need other frequencies)"
    return rope.positions, "max_position_embeddings"


def _count(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A positive whole number of the config."""
    value = config.get(name)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"config.json: {name} must be a positive whole number, not {value!r}")
    return value


def _number(config: Mapping[str, Any], name: str, default: float) -> float:
    """A number of the config above 0."""
    value = config.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ModelError(f"config.json: {name} must be a number above 0, not {value!r}")
    return float(value)


def eos_ids(directory: Path, config: Mapping[str, Any]) -> tuple[int, ...]:
    """End-of-text ids of generation_config.json, else of config.json."""
    path = directory / "generation_config.json"
    given = (read_json(path).get("eos_token_id") if path.exists() else None) or config.get("eos_token_id")
    if given is None:
        return ()
    return tuple(given) if isinstance(given, list) else (int(given),)
