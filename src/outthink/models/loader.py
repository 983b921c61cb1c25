"""From a Hugging Face directory to a model that runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from outthink.models.assemble import Assembly
from outthink.models.base import Loaded, Model, ModelConfig
from outthink.models.config import Shape, eos_ids, not_lean, parse_shape, read_config
from outthink.models.errors import ModelError
from outthink.models.hf import load_transformers
from outthink.models.levels import PAIRS, choose_kernels
from outthink.models.llama import LeanModel
from outthink.models.native import NativeModel
from outthink.models.packing import NativeAssembly, PairAssembly
from outthink.models.tokenizer import Tokenizer
from outthink.models.weights import Weights

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
    "int8": torch.float32,
}
"""Names of number types, and in which type a model of that name computes what is not a matrix of a layer."""


def load(
    path: str | Path,
    dtype: str = "float32",
    device: str = "cpu",
    threads: int | None = None,
    trust_remote_code: bool = False,
    kernels: str | None = None,
) -> Loaded:
    """Load model and tokenizer: llama, mistral, qwen2 and qwen3 lean, others through transformers.

    `threads` sets torch's thread count for the process; `kernels` is "auto", "torch", "native" or a level of
    the native kernels (see native.py), and None what OUTTHINK_KERNELS says.

    Raises ModelError with one line on what is wrong.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    model = load_model(path, dtype, device, trust_remote_code, kernels)
    tokenizer = Tokenizer.from_directory(Path(path))
    tokenizer.check(model.config)
    return Loaded(model, tokenizer, model.config)


def load_model(
    path: str | Path,
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
    kernels: str | None = None,
) -> Model:
    """The model of a directory without its tokenizer."""
    directory = Path(path)
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is not known; use one of {', '.join(DTYPES)}")
    target = _device(device)
    config = read_config(directory)
    level = choose_kernels(kernels, dtype, target)
    if reason := not_lean(config):
        if kernels not in (None, "auto", "torch"):
            raise ModelError(f"{reason}, and native kernels need one; use kernels='torch' or 'auto'")
        if dtype == "int8":
            raise ModelError(f"{reason}, and int8 needs one; use dtype='bfloat16'")
        return load_transformers(directory, config, DTYPES[dtype], target, trust_remote_code)
    return _lean(directory, config, dtype, target, level)


def _device(name: str) -> torch.device:
    """The device of that name, if it is there."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"device {name!r} is not known; use cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("device 'cuda' is not available here; use device='cpu'")
    return device


def _lean(
    directory: Path, config: dict[str, Any], dtype: str, device: torch.device, level: str | None
) -> Model:
    """The lean model of a directory, with native kernels of a level or with torch's."""
    shape = parse_shape(config)
    assembly = Assembly if level is None else PairAssembly if level == PAIRS else NativeAssembly
    with Weights(directory) as weights:
        parts = assembly(shape, weights, DTYPES[dtype], device, int8=dtype == "int8").parts()
        _refuse_unused(weights, shape)
        described = _describe(shape, directory, config, weights.params)
    described = replace(described, dtype=dtype, device=str(device))
    if level is None:
        return LeanModel(shape, described, parts)
    return NativeModel(shape, replace(described, kernels=f"native {level}"), parts, DTYPES[dtype], level)


def _describe(shape: Shape, directory: Path, config: dict[str, Any], params: int) -> ModelConfig:
    """The public numbers of a lean model, but for type and device."""
    return ModelConfig(
        family=shape.family,
        vocab=shape.vocab,
        layers=shape.layers,
        hidden=shape.hidden,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate=shape.intermediate,
        max_positions=shape.max_positions,
        eos=eos_ids(directory, config),
        bos=config.get("bos_token_id"),
        params=params,
        tied=shape.tied,
    )


def _refuse_unused(weights: Weights, shape: Shape) -> None:
    """Tensors that the family does not know mean that the forward would compute something else."""
    known = ("rotary_emb.inv_freq", "lm_head.weight") if shape.tied else ("rotary_emb.inv_freq",)
    if unknown := [name for name in weights.unused() if not name.endswith(known)]:
        raise ModelError(
            f"{weights.directory}: a {shape.family} model has no use for {unknown[0]} ({len(unknown)} such); "
            "config.json and weights belong to different models"
        )
