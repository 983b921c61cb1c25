"""Repetition, presence and frequency penalties, and logit bias: warps that see the exact prefix of each
row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch


class Counts(NamedTuple):
    """Which tokens the prompt holds, and how often each was written after it. Never mutated."""

    prompt: frozenset[int]
    written: Mapping[int, int]


@dataclass(frozen=True)
class Penalties:
    """x -> x / r or x * r (x > 0 or not) for tokens seen at all (CTRL, 1909.05858); then x - presence -
    frequency * count for tokens written after the prompt.
    """

    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0

    def start(self, prompt: Sequence[int]) -> Counts:
        return Counts(frozenset(prompt), {})

    def next(self, state: Counts, token: int) -> Counts:
        return Counts(state.prompt, {**state.written, token: state.written.get(token, 0) + 1})

    def __call__(self, logits: torch.Tensor, states: Sequence[Counts]) -> torch.Tensor:
        out = logits.clone()
        for row, state in zip(out, states, strict=True):
            self._one(row, state)
        return out

    def _one(self, row: torch.Tensor, state: Counts) -> None:
        seen = list(state.prompt.union(state.written)) if self.repetition != 1.0 else []
        if seen:
            at = torch.tensor(seen, device=row.device)
            values = row[at]
            row[at] = torch.where(values > 0, values / self.repetition, values * self.repetition)
        if state.written and (self.presence or self.frequency):
            at = torch.tensor(list(state.written), device=row.device)
            counts = torch.tensor(list(state.written.values()), device=row.device, dtype=row.dtype)
            row[at] -= self.presence + self.frequency * counts


@dataclass(frozen=True)
class LogitBias:
    """Add a constant to the logits of given tokens."""

    bias: tuple[tuple[int, float], ...]

    def start(self, prompt: Sequence[int]) -> None:
        return None

    def next(self, state: None, token: int) -> None:
        return None

    def __call__(self, logits: torch.Tensor, states: Sequence[None]) -> torch.Tensor:
        out = logits.clone()
        at = torch.tensor([t for t, _ in self.bias], device=out.device)
        out[:, at] += torch.tensor([b for _, b in self.bias], device=out.device, dtype=out.dtype)
        return out
