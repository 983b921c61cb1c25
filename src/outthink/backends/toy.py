"""A model that can be enumerated: a handful of tokens, probabilities that are a function of the exact prefix.

    logits(prefix)[v] = scale * (hash(prefix, v) in [-1, 1])          the end token -inf before `shortest`

Its "cache" holds the token and the position of every slot, and a row reads its prefix *through the cache*,
so any mistake of the engine (a wrong slot, a lost ancestor, a stale row) changes its probabilities. Every
exact test runs on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from outthink.backends.local import LocalBackend
from outthink.core.about import About, Prices
from outthink.core.batch import Batch, Move
from outthink.core.errors import BadInput
from outthink.core.jobs import Variant
from outthink.core.rng import digest

ALPHABET = ".abcdefghijklmnopqrstuvwxyz0123456789 \n:AQ"
TOY_LAYERS = 4  # in name only: what drafters that leave some out may ask for
Logits = Callable[[tuple[int, ...]], Sequence[float]]


class ToyTokenizer:
    """One character a token; token 0 ends the text and is written as nothing."""

    def __init__(self, vocab: int) -> None:
        if not 2 <= vocab <= len(ALPHABET):
            raise BadInput(f"a toy vocabulary has 2 to {len(ALPHABET)} tokens, not {vocab}")
        self.vocab = vocab

    def encode(self, text: str, special: bool = True) -> list[int]:
        known = ALPHABET[: self.vocab]
        bad = next((c for c in text if c not in known), None)
        if bad is not None:
            raise BadInput(f"the toy model knows the characters {known!r}, not {bad!r}")
        return [known.index(c) for c in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(ALPHABET[t] for t in tokens if t)

    def chat(self, messages: Sequence[Mapping[str, str]], *, is_reply_due: bool = True) -> list[int]:
        return self.encode("".join(m["content"] for m in messages))

    def resume(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return self.chat(messages)

    def detokenizer(self) -> ToyDetokenizer:
        return ToyDetokenizer()


class ToyDetokenizer:
    """Every token is a character at once."""

    def push(self, token: int) -> str:
        return ALPHABET[token] if token else ""


class ToyStore:
    """What each slot holds: a token and its position."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.held: list[tuple[int, int] | None] = [None] * slots

    def move(self, moves: Sequence[Move]) -> None:
        read = [self.held[m.src : m.src + m.length] for m in moves]
        for m, rows in zip(moves, read, strict=True):
            self.held[m.dst : m.dst + m.length] = rows

    def grow(self, slots: int) -> None:
        self.held.extend([None] * (slots - self.slots))
        self.slots = slots


class ToyModel:
    """Logits as a function of the prefix, read through the cache."""

    def __init__(self, logits: Logits, vocab: int) -> None:
        self.logits = logits
        self.vocab = vocab
        self.rows = 0  # rows evaluated, for tests that count

    def new_store(self, slots: int) -> ToyStore:
        return ToyStore(slots)

    def forward(self, batch: Batch, store: ToyStore) -> torch.Tensor:
        self.rows += len(batch)
        for token, position, slot in zip(batch.tokens, batch.positions, batch.slots, strict=True):
            store.held[slot] = (token, position)
        out = [list(self.logits(self._prefix(batch, row, store))) for row in batch.wanted]
        return torch.tensor(out, dtype=torch.float64).reshape(len(out), self.vocab)

    def states(self, batch: Batch, store: ToyStore) -> torch.Tensor:
        """A toy's hidden state is its next-token distribution [len(wanted), vocab]."""
        return self.forward(batch, store).softmax(-1)

    def variant(self, variant: Variant) -> ToyModel:
        """The same model where 8 bits are asked for; with layers left out, one that agrees now and then."""
        if variant.is_int8:
            return ToyModel(self.logits, self.vocab)
        return ToyModel(lambda prefix: self.logits(prefix[-len(variant.layers or ()) :]), self.vocab)

    def _prefix(self, batch: Batch, row: int, store: ToyStore) -> tuple[int, ...]:
        slots: list[int] = []
        at, length = batch.segment[row], batch.visible[row]
        while at >= 0:
            segment = batch.segments[at]
            slots[:0] = range(segment.start, segment.start + length)
            at = segment.parent
            length = batch.segments[at].length if at >= 0 else 0
        held = [store.held[s] for s in slots]
        if [h[1] if h else None for h in held] != list(range(len(held))):
            raise AssertionError(f"row {row} reads a broken prefix: {held}")
        return tuple(h[0] for h in held if h)


def hashed(vocab: int, scale: float = 2.0, shortest: int = 0, seed: int = 0) -> Logits:
    """Logits that differ for every prefix; the end token cannot come before `shortest` tokens."""

    def logits(prefix: tuple[int, ...]) -> list[float]:
        row = [scale * (digest(seed, prefix, v) / 2**63 - 1.0) for v in range(vocab)]
        if len(prefix) < shortest:
            row[0] = -math.inf
        return row

    return logits


def scripted(table: Mapping[str, Mapping[str, float]], vocab: int, default: str = ".") -> Logits:
    """Probabilities by the longest suffix of the text that `table` has; what it does not have ends the
    text."""
    tokenizer = ToyTokenizer(vocab)

    def logits(prefix: tuple[int, ...]) -> list[float]:
        text = tokenizer.decode(prefix)
        suffixes = (text[i:] for i in range(len(text) + 1))
        row = next((table[s] for s in suffixes if s in table), {default: 1.0})
        return [math.log(row[c]) if row.get(c) else -math.inf for c in ALPHABET[:vocab]]

    return logits


def toy(logits: Logits | None = None, vocab: int = 4, context: int = 64) -> LocalBackend:
    """A toy backend; `outthink.load("toy")` is this with its defaults."""
    model = ToyModel(logits or hashed(vocab), vocab)
    prices = Prices(flops_row=1.0, flops_head=0.0, flops_context=0.0, weight_bytes=1.0, slot_bytes=1.0)
    return LocalBackend(
        model, ToyTokenizer(vocab), About("toy", vocab, context, frozenset({0}), prices, TOY_LAYERS)
    )
