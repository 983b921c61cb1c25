"""Batch-invariant passes in torch: the bits of a row depend on its own tokens alone.

A product's bits depend on the number of rows that it is made for, so every operation is made for as many:

    a pass      is cut, in order, into blocks of exactly `rows` rows; copies of its first fill up the last
    attention   goes over blocks of 64 keys of a row's own view, in order, whoever shares them:
                m' = max(m, max s);  l' = l e^(m - m') + sum e^(s - m');  o' = o e^(m - m') + e^(s - m') V

`rows` is found at load: the most of ROWS for which rows keep their bits in any company (`keeps_bits`). One
row at a time is always the same computation. All of it is slow; native kernels have the property for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from random import Random

import numpy as np
import torch

from outthink.core.batch import Batch, Segment
from outthink.core.jobs import Variant
from outthink.kv.store import Store
from outthink.models.base import Model
from outthink.models.errors import ModelError
from outthink.models.forest import thread_of
from outthink.models.hf import TransformersModel
from outthink.models.linear import Linear
from outthink.models.llama import LeanModel
from outthink.models.native import NativeModel

KEYS = 64  # to a block of attention
ROWS = (16, 4, 1)  # sizes of a block of rows that are tried
Run = Callable[[Batch, Store], torch.Tensor]
Rows = dict[tuple[int, int], torch.Tensor]  # logits by (tail or -1 for the prompt, token)
PROMPT, TAILS = 66, (1, 2, 4)  # tokens of the texts of the test at load: the prompt ends in a second block


class BlockAttention:
    """Attention of the rows of a batch, each over its own view in blocks of KEYS; see `Attending`."""

    def __init__(self, batch: Batch, store: Store, query: torch.Tensor) -> None:
        self.query, self.layers = query, store.layers
        self.wide = torch.promote_types(query.dtype, torch.float32)
        views = [_slots(batch, row) for row in range(len(batch))]
        blocks = -(-max(map(len, views)) // KEYS)
        slots = np.zeros((len(batch), blocks * KEYS), dtype=np.int64)
        hidden = np.ones(slots.shape, dtype=bool)
        for row, view in enumerate(views):
            slots[row, : len(view)], slots[row, len(view) :], hidden[row, : len(view)] = view, view[0], False
        device = store.data.device
        self.slots = [_tensor(part.reshape(-1), device) for part in np.split(slots, blocks, 1)]
        self.hidden = [_tensor(part, device)[:, None, None] for part in np.split(hidden, blocks, 1)]

    def run(self, layer: int, scale: float | None = None) -> torch.Tensor:
        """Outputs [rows, group * kv_heads * head_dim] for the queries of a layer."""
        rows, group, heads, dim = self.query.shape
        query = self.query.to(self.wide).transpose(1, 2).reshape(rows * heads, group, dim)
        query = query * (dim**-0.5 if scale is None else scale)
        most = query.new_full((rows, heads, group, 1), float("-inf"))
        total, out = torch.zeros_like(most), query.new_zeros(rows, heads, group, dim)
        for slots, hidden in zip(self.slots, self.hidden, strict=True):
            cells = self.layers[layer].index_select(0, slots).to(self.wide).view(rows, KEYS, 2, heads, dim)
            keys, values = cells.permute(2, 0, 3, 1, 4).reshape(2, rows * heads, KEYS, dim)
            scores = torch.bmm(query, keys.transpose(1, 2).contiguous()).view(rows, heads, group, KEYS)
            scores.masked_fill_(hidden, float("-inf"))
            before, most = most, torch.maximum(most, scores.amax(-1, keepdim=True))
            weights, fade = scores.sub_(most).exp_(), (before - most).exp_()
            total = total * fade + weights.sum(-1, keepdim=True)
            added = torch.bmm(weights.view(rows * heads, group, KEYS), values)
            out = out * fade + added.view(rows, heads, group, dim)
        return (out / total).transpose(1, 2).reshape(rows, -1).to(self.query.dtype)

    def run_row(self, layer: int) -> torch.Tensor:
        """The same; see `Attention.run_row`."""
        return self.run(layer)


def _slots(batch: Batch, row: int) -> np.ndarray:
    """The slots that a row sees, in order."""
    return np.concatenate([np.arange(start, start + length) for start, length in thread_of(batch, row)])


def _tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


class InBlocks:
    """A torch model whose every operation is made for the same number of rows and threads."""

    def __init__(self, model: LeanModel | TransformersModel, rows: int) -> None:
        self.model, self.rows, self.threads = model, rows, torch.get_num_threads()
        self.size = max(rows, 2)  # a single row has a copy beside it: passes of one row take another way
        self.config = replace(model.config, kernels=f"torch {rows} rows at a time")
        model.attend = BlockAttention

    def new_store(self, slots: int) -> Store:
        """An empty cache of that many slots."""
        return self.model.new_store(slots)

    @torch.inference_mode()
    def forward(self, batch: Batch, store: Store) -> torch.Tensor:
        """Logits of the wanted rows, [len(wanted), vocab]; keys and values of all rows go into slots.

        Raises ValueError where a row comes before one that it sees.
        """
        return self._by_blocks(self.model.forward, batch, store)

    @torch.inference_mode()
    def states(self, batch: Batch, store: Store) -> torch.Tensor:
        """The outputs of the last norm of the wanted rows [len(wanted), hidden], in a pass without logits."""
        return self._by_blocks(self.model.states, batch, store)

    def variant(self, variant: Variant) -> Model:
        """What drafts need not keep their bits: what is written is the model's own."""
        return self.model.variant(variant)

    def _by_blocks(self, run: Run, batch: Batch, store: Store) -> torch.Tensor:
        _check_order(batch)
        with _threads(self.threads):
            found = [self._block(run, batch, first, store) for first in range(0, len(batch), self.rows)]
        return torch.cat(found) if found else run(batch, store)

    def _block(self, run: Run, batch: Batch, first: int, store: Store) -> torch.Tensor:
        """What a run makes of the wanted of rows `first`, `first + 1` ...: it is made for all or none."""
        rows = list(range(first, min(first + self.rows, len(batch))))
        filled = rows + [first] * (self.size - len(rows))
        picks = [row - first for row in batch.wanted if first <= row < first + self.rows]
        wanted = list(range(self.size)) if picks else []
        listed = (batch.tokens, batch.positions, batch.slots, batch.segment, batch.visible)
        tokens, positions, slots, segment, visible = ([values[row] for row in filled] for values in listed)
        block = Batch(tokens, positions, slots, segment, visible, wanted, batch.segments)
        return run(block, store)[picks]


def _check_order(batch: Batch) -> None:
    """Rows of one segment must come in the order of their slots; segments come parents first anyway."""
    for (segment, seen), (other, more) in zip(
        zip(batch.segment, batch.visible, strict=True),
        zip(batch.segment[1:], batch.visible[1:], strict=True),
        strict=False,
    ):
        if segment == other and seen >= more:
            raise ValueError(f"rows of segment {segment} are not in order: {seen} before {more}")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads in torch: another number is another computation."""
    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)


def invariant(model: Model) -> Model:
    """The model itself if its rows keep their bits in any company, else in blocks in which they do.

    Raises ModelError where there is no such way, or on a device where none has been measured.
    """
    if model.config.device != "cpu":
        raise ModelError(
            f"deterministic passes are for the CPU, not for {model.config.device}: use device='cpu'"
        )
    if isinstance(model, NativeModel):
        if keeps_bits(model):
            return model
    elif isinstance(model, LeanModel | TransformersModel):
        _one_layout(model)
        for rows in ROWS:
            blocks = InBlocks(model, rows)
            if keeps_bits(blocks):
                return blocks
    raise ModelError(
        f"rows of this {model.config.family} model do not keep their bits in company here: "
        "load it without deterministic"
    )


def _one_layout(model: LeanModel | TransformersModel) -> None:
    """Matrices of a lean model are multiplied in one layout, whatever the number of rows."""
    if isinstance(model, LeanModel):
        for matrix in (model.head, *(matrix for layer in model.layers for matrix in layer.matrices)):
            if isinstance(matrix, Linear):
                matrix.forget_layouts()


# ---- the test at load


def keeps_bits(model: Model) -> bool:
    """Whether rows of some short texts have the same bits alone, together, in chunks and at other slots."""
    random, most = Random(0), min(PROMPT, model.config.max_positions - max(TAILS) - 1)
    prompt = [random.randrange(model.config.vocab) for _ in range(most)]
    tails = [[random.randrange(model.config.vocab) for _ in range(count)] for count in TAILS]
    alone: Rows = {}
    for tail, tokens in enumerate(tails):
        alone |= _pass(model, model.new_store(99), prompt, [tokens], [0, most], (tail,))
    together = _pass(model, model.new_store(199), prompt, tails, [0, most], range(len(tails)), 30)
    store, chunked = model.new_store(299), Rows()
    cuts = [0, 1, most // 3, most // 2, most]
    for low, high in zip(cuts, cuts[1:], strict=False):
        chunked |= _pass(model, store, prompt, [], [low, high], (), 60)
    chunked |= _pass(model, store, prompt, tails[::-1], [most, most], range(len(tails))[::-1], 60)
    return all(
        torch.equal(rows, other[key]) for other in (together, chunked) for key, rows in alone.items()
    )  # fmt: skip


def _pass(
    model: Model,
    store: Store,
    prompt: Sequence[int],
    tails: Sequence[Sequence[int]],
    span: Sequence[int],
    names: Sequence[int],
    shift: int = 0,
) -> Rows:
    """Logits of the prompt's tokens in `span` and of all tails, by (tail or -1, token)."""
    low, high = span
    batch, keys = Batch(segments=[Segment(-1, shift, high)]), []
    parts = [(-1, 0, shift, list(prompt[:high]), low)]
    start = shift + len(prompt)
    for name, tail in zip(names, tails, strict=True):
        start += 3
        batch.segments.append(Segment(0, start, len(tail)))
        parts.append((name, len(prompt), start, list(tail), 0))
        start += len(tail)
    for segment, (name, begin, first, tokens, done) in enumerate(parts):
        for at in range(done, len(tokens)):
            batch.tokens.append(tokens[at])
            batch.positions.append(begin + at)
            batch.slots.append(first + at)
            batch.segment.append(segment)
            batch.visible.append(at + 1)
            keys.append((name, at))
    batch.wanted = list(range(len(batch)))
    return dict(zip(keys, model.forward(batch, store), strict=True))
