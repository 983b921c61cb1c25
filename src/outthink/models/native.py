"""The lean forward in C: one call a pass, on CPUs, for float32, bfloat16 and int8 (`native/`).

Matrices lie in panels of 64 outputs; those whose numbers are bfloat16 numbers stay so in memory, whatever the
model's type, and are widened in registers: exact, and half the bytes. With dtype bfloat16 matrices and cache
are rounded to it, and where the processor multiplies such numbers (level `avx512bf16`) so are the rows that
meet a matrix; sums, norms and the stream stay float32, so a pass is closer to the exact one than bfloat16
throughout. With dtype int8 the matrices of layers, and the rows that meet them, are 8-bit whole numbers, as
in `linear.Int8Linear`.

The bits of a row depend on its own tokens alone: not on the rows beside it, on how a prompt is cut into
passes, on slots, or on the number of threads. They do depend on the level of the kernels (`avx512`, `avx2`,
`generic`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from outthink.core.batch import Batch
from outthink.core.jobs import Draw, Drawn, Variant
from outthink.kv.store import Store
from outthink.models.assemble import Parts
from outthink.models.base import ModelConfig
from outthink.models.config import Shape
from outthink.models.errors import ModelError
from outthink.models.int8_panels import Int8Panels
from outthink.models.levels import _native
from outthink.models.panels import address_of

FLOAT_BYTES = 4

MATRICES = ("qkv", "out", "gate_up", "down")


class NativeModel:
    """A Llama-like model whose passes are one call of C."""

    def __init__(
        self, shape: Shape, config: ModelConfig, parts: Parts, dtype: torch.dtype, level: str
    ) -> None:
        self.shape, self.config, self.parts, self.dtype, self.level = shape, config, parts, dtype, level
        self.turns = shape.rope.table(min(1024, shape.max_positions), torch.float32)
        self.every = list(range(shape.layers))
        self.threads = 0  # of the pool; 0: as many as torch has
        self.copy: Int8Copy | None = None
        self.handle = _native.create(*_sizes(shape), *_addresses(parts))

    @property
    def weight_bytes(self) -> float:
        """What a pass reads of matrices."""
        parts: Any = self.parts
        matrices = [parts.head, *(matrix for layer in parts.layers for matrix in layer.matrices)]
        return float(sum(matrix.bytes for matrix in matrices))

    def new_store(self, slots: int) -> Store:
        """An empty cache of that many slots."""
        shape = self.shape
        return Store(shape.layers, slots, shape.kv_heads, shape.head_dim, self.dtype, "cpu", by_head=True)

    def forward(
        self,
        batch: Batch,
        store: Store,
        layers: Sequence[int] | None = None,
        hidden: bool = False,
        copy: Int8Copy | None = None,
    ) -> torch.Tensor:
        """Logits of the wanted rows [len(wanted), vocab]; keys and values of all rows go into slots.

        `layers` are run in the order given, all of them by default: a shorter list skips layers or leaves
        early, and each layer reads and writes its own part of the cache. With `hidden`, the outputs of the
        last norm [len(wanted), hidden] instead of logits; with a `copy`, its
        weights instead of the model's. Raises ValueError for a batch that does not fit.
        """
        out = torch.empty(len(batch.wanted), self.shape.hidden if hidden else self.shape.vocab)
        run = self.every if layers is None else list(layers)
        handle = self.handle if copy is None else copy.handle
        _native.forward(handle, *self._order(batch, store, 0, run, hidden, out))
        return out

    def write(
        self, batch: Batch, store: Store, draws: list[Draw], temperature: float, steps: int, ends: bytes
    ) -> tuple[torch.Tensor, list[list[Drawn]], float]:
        """Up to so many passes of decode steps: (logits [steps * rows, vocab], what each drew, in what time).

        The first is `batch`, of which every row is the last of a leaf of its own; draws come row by row, at
        least one of each. Each other one is `batch.after` of what was drawn. A step that draws a token with
        `ends[token]`, or two tokens from a row, is the last one. Raises ValueError for what does not fit.
        """
        rows = len(batch.wanted)
        out = torch.empty(steps * rows, self.shape.vocab)
        order = self._order(batch, store, steps - 1, self.every, False, out)
        found, seconds = _native.write(self.handle, *order, draws, temperature, steps, ends)
        return out[: len(found) * rows], [[Drawn(*one) for one in step] for step in found], seconds

    def _order(
        self, batch: Batch, store: Store, more: int, layers: list[int], hidden: bool, out: torch.Tensor
    ) -> tuple[str, int, Batch, int, int, int, bool, int, int, list[int], bool, int]:
        """What C needs to know of passes that go `more` positions beyond the batch."""
        if not store.by_head:
            raise ValueError("this model reads a cache with the slots of a head together; use its new_store")
        self._reach(max(batch.positions, default=0) + more)
        data, table = store.data, self.turns
        return (
            self.level, self.threads or torch.get_num_threads(), batch,
            data.data_ptr(), data.shape[1], data.stride(3) // data.stride(1), data.dtype == torch.bfloat16,
            table.data_ptr(), len(table), layers, hidden, out.data_ptr(),
        )  # fmt: skip

    def states(self, batch: Batch, store: Store) -> torch.Tensor:
        """The outputs of the last norm of the wanted rows [len(wanted), hidden], in a pass without logits."""
        return self.forward(batch, store, hidden=True)

    def variant(self, variant: Variant) -> NativeVariant:
        """The same weights with layers left out, or in 8 bits, or both; the 8-bit copy is made once.

        Raises ModelError for 8 bits of a model that is in 8 bits already.
        """
        layers = self.every if variant.layers is None else list(variant.layers)
        if variant.is_int8 and self.copy is None:
            self.copy = Int8Copy.of(self)
        return NativeVariant(self, layers, self.copy if variant.is_int8 else None)

    def _reach(self, position: int) -> None:
        """Make the table of turns long enough for a position."""
        if position < len(self.turns):
            return
        if position >= self.shape.max_positions:
            raise ModelError(
                f"position {position} is beyond the {self.shape.max_positions} positions of this model "
                f"(set by {self.shape.limit}); shorten the prompt or the answer"
            )
        length = min(max(2 * len(self.turns), position + 1), self.shape.max_positions)
        self.turns = self.shape.rope.table(length, torch.float32)


def _sizes(shape: Shape) -> tuple[int, int, int, int, int, int, float]:
    sizes = shape.vocab, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim, shape.intermediate
    return *sizes, shape.eps


@dataclass(frozen=True, slots=True)
class Int8Copy:
    """All matrices of a model in 8 bits, the head's too; the rest is shared with the model."""

    parts: Parts  # kept alive: C has its addresses
    handle: object

    @classmethod
    def of(cls, model: NativeModel) -> Int8Copy:
        """Raises ModelError where the model is in 8 bits already."""
        parts: Any = model.parts
        if any(isinstance(layer.qkv, Int8Panels) for layer in parts.layers):
            raise ModelError("the model is in 8 bits already; draft with another drafter")
        layers = [
            replace(layer, **{name: getattr(layer, name).rounded() for name in MATRICES})
            for layer in parts.layers
        ]
        rounded = parts._replace(layers=layers, head=parts.head.rounded())
        return cls(rounded, _native.create(*_sizes(model.shape), *_addresses(rounded)))

    def bytes(self, layers: Sequence[int]) -> int:
        """Those of the matrices of some layers, and of the head."""
        parts: Any = self.parts
        read = sum(matrix.bytes for index in layers for matrix in parts.layers[index].matrices)
        return int(read + parts.head.bytes)


@dataclass(frozen=True, slots=True)
class NativeVariant:
    """Some layers of a model, or an 8-bit copy of it, on the model's own cache."""

    model: NativeModel
    layers: list[int]
    copy: Int8Copy | None = None

    @property
    def weight_bytes(self) -> float | None:
        """What a pass reads of weights; None where it is the model's share."""
        return None if self.copy is None else float(self.copy.bytes(self.layers))

    @property
    def state_bytes(self) -> float:
        """What is held beside the model."""
        return 0.0 if self.copy is None else float(self.copy.bytes(self.model.every))

    def new_store(self, slots: int) -> Store:
        """A cache such as the model's."""
        return self.model.new_store(slots)

    def forward(self, batch: Batch, store: Store) -> torch.Tensor:
        """Logits of the wanted rows by these layers alone."""
        return self.model.forward(batch, store, self.layers, copy=self.copy)


def _addresses(parts: Any) -> tuple[int, bool, int, Any, list[Any]]:
    """Where the weights are; of Parts whose matrices are Panels or Int8Panels."""
    layers = [
        (
            *(matrix.address for matrix in layer.matrices),
            *map(address_of, (*layer.gains, layer.head_gain)),
        )
        for layer in parts.layers
    ]
    wide = parts.embed.dtype == torch.float32
    return parts.embed.data_ptr(), wide, address_of(parts.gain), parts.head.address, layers


def draw_plain(
    level: str, logits: torch.Tensor, draws: list[Draw], temperature: float, threads: int
) -> list[tuple[int, float, tuple[()]]]:
    """(token, log-probability before temperature, ()) of each draw; logits are float32 [rows, vocab].

    token = argmax over v of logits[v] / temperature + rng.gumbel(key, position, v); temperature 0: no noise.
    """
    logits = logits.contiguous()
    rows, vocab = logits.shape
    return _native.draw(level, threads, logits.data_ptr(), rows, vocab, temperature, draws)


def likeliest(
    level: str, logits: torch.Tensor, count: int, which: list[int]
) -> list[tuple[tuple[int, float], ...]]:
    """The `count` likeliest tokens of some rows with their log-probabilities, the likeliest first.

    Of equals the first one counts. logits are float32 [rows, vocab]; count is 1 to 64. ValueError beyond.
    """
    logits = logits.contiguous()
    rows, vocab = logits.shape
    return _native.likeliest(level, logits.data_ptr(), rows, vocab, min(count, vocab), which)


def draw_along(
    level: str,
    rows: Sequence[tuple[torch.Tensor, int]],
    draw: Draw,
    temperature: float,
    told: list[int],
    ends: bytes,
) -> list[Drawn]:
    """`draw_plain` from one row after the other, each (contiguous logits, which row), a position on for each.

    The first token that is not the one of `told`, or has `ends[token]`, is the last.
    """
    vocab = rows[0][0].shape[1]
    addresses = [logits.data_ptr() + row * vocab * FLOAT_BYTES for logits, row in rows]
    start = draw._replace(row=0)
    return [Drawn(*one) for one in _native.along(level, vocab, temperature, start, addresses, told, ends)]
