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

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from outthink.core.batch import Batch
from outthink.core.jobs import Draw, Drawn, Variant
from outthink.kv.store import Store
from outthink.models.assemble import Assembly, Parts
from outthink.models.base import ModelConfig
from outthink.models.config import Shape
from outthink.models.errors import ModelError
from outthink.models.int8_panels import PANEL, Int8Panels
from outthink.models.pages import Arena
from outthink.models.pair_panels import PairPanels

try:
    import outthink.models._native as _native
except ImportError:  # not built: there was no C compiler, or the platform has no POSIX threads
    _native = None  # type: ignore[assignment]

VARIABLE = "OUTTHINK_KERNELS"
MATRICES = ("qkv", "out", "gate_up", "down")
PAIRS = "avx512bf16"  # the level that has products of bfloat16 numbers
CHOICES = ("auto", "torch", "native", PAIRS, "avx512", "avx2", "generic")


def choose_kernels(wanted: str | None, dtype: str, device: torch.device) -> str | None:
    """The level of native kernels to run, or None for torch.

    `wanted` is one of CHOICES; None is what the environment variable OUTTHINK_KERNELS says, else "auto": the
    fastest native level where the extension is built and has this type and device. Raises ModelError if
    native kernels are asked for that cannot run here.
    """
    name = wanted or os.environ.get(VARIABLE) or "auto"
    if name not in CHOICES:
        raise ModelError(f"kernels {name!r} are not known; use one of {', '.join(CHOICES)}")
    if name == "torch":
        return None
    reason = _missing(dtype, device)
    if reason is None:
        levels = _native.levels()
        level = levels[0] if name in ("auto", "native") else name
        if level in levels:
            return "avx512" if level == PAIRS and dtype != "bfloat16" else level  # the same, but for matrices
        reason = f"this processor has {', '.join(levels)}"
    if name == "auto":
        return None
    raise ModelError(f"kernels {name!r} cannot run: {reason}; use kernels='torch' or 'auto'")


def _missing(dtype: str, device: torch.device) -> str | None:
    """Why no native kernels can run, if so."""
    if _native is None:
        return "the native extension was not built (it needs a C compiler when outthink is installed)"
    if device.type != "cpu":
        return f"they are for the CPU, not for {device.type}"
    if dtype not in ("float32", "bfloat16", "int8"):
        return f"they have float32, bfloat16 and int8, not {dtype}"
    return None


@dataclass(frozen=True, slots=True)
class Panels:
    """A packed matrix and its bias; in bfloat16 unless `wide`."""

    data: torch.Tensor
    bias: torch.Tensor | None
    outputs: int
    depth: int
    wide: bool

    @classmethod
    def pack(cls, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> Panels:
        """Of a matrix [outputs, inputs], rounded to `dtype`."""
        plain = weight.to(dtype).float().contiguous()
        outputs, depth = plain.shape
        wide = not torch.equal(plain.bfloat16().float(), plain)
        size = _padded(outputs) * depth
        data = torch.empty(size, dtype=torch.float32 if wide else torch.bfloat16)
        _native.pack(plain.data_ptr(), outputs, depth, wide, data.data_ptr())
        return cls(data, None if bias is None else _line(bias), outputs, depth, wide)

    @property
    def address(self) -> tuple[int, int, int, int, int, int]:
        """What C needs to know."""
        return self.data.data_ptr(), _address(self.bias), 0, self.outputs, self.depth, int(self.wide)

    @property
    def bytes(self) -> int:
        """Memory."""
        return self.data.nbytes

    def rounded(self) -> Int8Panels:
        """The same matrix in 8 bits."""
        if self.wide:
            plain = self.data.view(-1, self.depth, PANEL).transpose(1, 2)
        else:
            plain = self.data.view(-1, self.depth, PANEL // 2, 2).permute(0, 3, 2, 1)
        weight = plain.reshape(-1, self.depth)[: self.outputs]
        return Int8Panels.pack(weight.float(), None if self.bias is None else self.bias[: self.outputs])


Packed = Panels | PairPanels | Int8Panels


def _padded(n: int) -> int:
    return -(-n // PANEL) * PANEL


def _line(values: torch.Tensor) -> torch.Tensor:
    """float32 numbers with zeros behind them, up to a whole number of panels."""
    line = torch.zeros(_padded(len(values)))
    line[: len(values)] = values
    return line


def _address(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


class NativeAssembly(Assembly):
    """Packs matrices as they are read. Gains stay beside them, so that what was bfloat16 remains so."""

    def parts(self) -> Parts:
        """All of the model."""
        self.arena = Arena()
        return super().parts()

    def _gained(self, weight: torch.Tensor, norm: str) -> tuple[torch.Tensor, torch.Tensor]:
        width = weight.shape[1]
        gain = self.weights.get(f"{norm}.weight", width).double() * width**0.5
        return weight, _line(gain)

    def _linear(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Packed:  # type: ignore[override]
        return self._held(Int8Panels.pack(weight, bias) if self.int8 else self._float(weight, bias))

    def _head(self, weight: torch.Tensor) -> Packed:  # type: ignore[override]
        """The head is never in 8 bits, but in a variant that drafts."""
        return self._held(self._float(weight, None))

    def _held(self, packed: Packed) -> Packed:
        """On large pages."""
        return replace(packed, data=self.arena.hold(packed.data))

    def _float(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Panels | PairPanels:
        return Panels.pack(weight, bias, self.dtype)

    def _gated(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Packed:  # type: ignore[override]
        """32 outputs of the gate and the 32 of `up` that they multiply, in one panel."""
        order = _gate_order(len(weight) // 2)
        zero = weight.new_zeros(1, weight.shape[1])
        padded = torch.cat([weight, zero])[order]
        return self._linear(padded, None if bias is None else torch.cat([bias, bias.new_zeros(1)])[order])

    def _embedding(self, embed: torch.Tensor) -> torch.Tensor:
        """In bfloat16 where that is exact."""
        rounded = embed.to(self.dtype)
        half = rounded.bfloat16()
        return half if torch.equal(half.float(), rounded.float()) else rounded.float()


class PairAssembly(NativeAssembly):
    """The same for products of two bfloat16 numbers at once."""

    def _float(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Panels | PairPanels:
        return PairPanels.pack(weight, bias)


def _gate_order(inner: int) -> torch.Tensor:
    """Rows of [gate; up; zero] in the order of gated panels."""
    half = PANEL // 2
    gate = torch.full((-(-inner // half) * half,), 2 * inner)
    gate[:inner] = torch.arange(inner)
    up = torch.where(gate < inner, gate + inner, gate)
    return torch.stack([gate.view(-1, half), up.view(-1, half)], 1).flatten()


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
            *map(_address, (*layer.gains, layer.head_gain)),
        )
        for layer in parts.layers
    ]
    wide = parts.embed.dtype == torch.float32
    return parts.embed.data_ptr(), wide, _address(parts.gain), parts.head.address, layers


def draw_plain(
    level: str, logits: torch.Tensor, draws: list[Draw], temperature: float, threads: int
) -> list[tuple[int, float, tuple[()]]]:
    """(token, log-probability before temperature, ()) of each draw; logits are float32 [rows, vocab].

    token = argmax over v of logits[v] / temperature + rng.gumbel(key, position, v); temperature 0: no noise.
    """
    logits = logits.contiguous()
    rows, vocab = logits.shape
    return _native.draw(level, threads, logits.data_ptr(), rows, vocab, temperature, draws)
