"""Random reward heads for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

FEATURES = 6


def save_head(
    place: Path, model: str, fingerprint: str, width: int, hidden: int = 5, fill: float | None = None
) -> dict[str, np.ndarray]:
    """Write a head of random weights (or all `fill`) and return its tensors."""
    place.mkdir(exist_ok=True)
    draw = np.random.default_rng(7)
    shapes = {
        "first.weight": (hidden, width + FEATURES),
        "first.bias": (hidden,),
        "second.weight": (1, hidden),
        "second.bias": (1,),
    }
    tensors = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    if fill is not None:
        tensors = {name: np.full_like(tensor, fill) for name, tensor in tensors.items()}
    save_file(tensors, place / "model.safetensors")
    config = {
        "kind": "process_reward_head",
        "model": model,
        "fingerprint": fingerprint,
        "width": width,
        "hidden": hidden,
        "separator": "\n",
    }
    (place / "config.json").write_text(json.dumps(config))
    return tensors
