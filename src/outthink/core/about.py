"""What an engine must know of a model: its limits, and what its passes cost."""

from __future__ import annotations

from pathlib import PurePath
from typing import NamedTuple


class Prices(NamedTuple):
    """What a pass costs, from the configuration alone."""

    flops_row: float  # the matrices of one row, the vocabulary's left out
    flops_head: float  # the vocabulary's, for a row whose logits are wanted
    flops_context: float  # attention, per row and visible slot
    weight_bytes: float  # read once a pass
    slot_bytes: float  # one slot of cache

    def rows(self, low: int, high: int) -> float:
        """FLOPs of the rows at positions [low, high), each seeing all before it."""
        n = high - low
        return n * self.flops_row + self.flops_context * n * (low + high + 1) / 2


MOST_KEPT_ROWS = 16384
MOST_KEPT_BYTES = 2**26


class About(NamedTuple):
    """A model's name and limits."""

    name: str
    vocab: int
    context: int  # positions that the model accepts
    eos: frozenset[int]
    prices: Prices
    layers: int = 1
    directory: str = ""  # where its weights are; empty for a model without any

    @property
    def label(self) -> str:
        """What chance knows of it: a model that is moved to another place writes the same."""
        return PurePath(self.name).name if self.name == self.directory else self.name

    @property
    def kept_rows(self) -> int:
        """How many rows of logits a backend keeps, the latest ones, for drawing from them again."""
        return min(MOST_KEPT_ROWS, MOST_KEPT_BYTES // (4 * self.vocab))
