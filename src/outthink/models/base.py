"""What the engine knows of a model: its numbers, and one forward pass over a packed batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from outthink.core.batch import Batch
from outthink.kv.store import Store

if TYPE_CHECKING:
    from outthink.models.tokenizer import Tokenizer


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a loaded model, and what it weighs."""

    family: str
    vocab: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    max_positions: int  # positions 0 .. max_positions - 1 are accepted
    eos: tuple[int, ...] = ()
    bos: int | None = None
    dtype: str = "float32"
    device: str = "cpu"
    params: int = 0
    tied: bool = False  # one table for embedding and head
    lean: bool = True  # run by the lean forward; else through transformers
    kernels: str = "torch"  # what a pass is computed by: torch, or native and the level of its kernels

    @property
    def bytes(self) -> int:
        """Bytes of weights that a pass reads: all, but of an embedding table only the rows that occur."""
        table = self.vocab * self.hidden
        matrices = self.params - table * (1 if self.tied else 2)
        return matrices * (1 if self.dtype == "int8" else self._size) + table * self._size

    @property
    def cache_bytes_per_slot(self) -> int:
        """Bytes of keys and values that one token leaves in the cache, all layers together."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self._size

    @property
    def _size(self) -> int:
        return {"float64": 8, "bfloat16": 2}.get(self.dtype, 4)


class Model(Protocol):
    """A causal model that evaluates packed rows against a store."""

    config: ModelConfig

    def new_store(self, slots: int) -> Store:
        """Empty cache of that many slots, of this model's shape, type and device."""
        ...

    def forward(self, batch: Batch, store: Store) -> torch.Tensor:
        """Logits `[len(batch.wanted), vocab]`; writes keys and values of every row into its slot."""
        ...

    def states(self, batch: Batch, store: Store) -> torch.Tensor:
        """The same pass, but the outputs of the last norm, gain included: `[len(batch.wanted), hidden]`."""
        ...


@dataclass(frozen=True)
class Loaded:
    """What `load` returns."""

    model: Model
    tokenizer: Tokenizer
    config: ModelConfig
