"""Which weights a thing was made for: a word that changes with architecture and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

BLOCK, BLOCKS = 2**20, 16  # a file of weights up to 16 MiB is read whole; of a larger one, so many blocks
SHAPE = (
    "architectures", "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "intermediate_size", "rope_theta", "rms_norm_eps",
    "tie_word_embeddings",
)  # fmt: skip


@lru_cache(maxsize=16)
def fingerprint(directory: str) -> str:
    """sha256 over the shape in config.json and the safetensors files of a model directory: 32 hex digits.

    Of a file over 16 MiB its size and 16 blocks of 1 MiB count, evenly spaced, first and last among them.
    Raises OSError where there is no config.json.
    """
    folder = Path(directory)
    config = json.loads((folder / "config.json").read_text())
    found = hashlib.sha256(json.dumps([config.get(name) for name in SHAPE]).encode())
    for path in sorted(folder.glob("*.safetensors")):
        for block in _blocks(path):
            found.update(block)
    return found.hexdigest()[:32]


def _blocks(path: Path) -> Iterator[bytes]:
    """The size of a file, then what counts of it."""
    size = path.stat().st_size
    yield size.to_bytes(8, "little")
    with path.open("rb") as file:
        if size <= BLOCK * BLOCKS:
            yield file.read()
            return
        for i in range(BLOCKS):
            file.seek((size - BLOCK) * i // (BLOCKS - 1))
            yield file.read(BLOCK)
