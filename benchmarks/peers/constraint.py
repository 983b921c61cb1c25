"""One constraint and one piece of work, for everybody; and the exact answer where it can be enumerated."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import outthink as ot


@dataclass(frozen=True)
class Matches:
    """1 for a text that the pattern matches as a whole, else 0; beginnings of what matches must match too."""

    pattern: str

    records = ()

    def allows(self, text: str) -> bool:
        return re.fullmatch(self.pattern, text, re.DOTALL) is not None

    async def __call__(self, candidates: Sequence[ot.Candidate]) -> list[ot.Score]:
        return [ot.Score(float(self.allows(c.text))) for c in candidates]


@dataclass(frozen=True)
class Work:
    """Sample `particles` texts of at most `new` tokens in proportion to p(text) [text matches]."""

    question: str
    prompt: tuple[int, ...]
    constraint: Matches
    particles: int
    new: int
    seed: int = 0


@dataclass
class Found:
    """A weighted population (the weights add up to the estimate of Z), and what it cost."""

    texts: list[str]
    weights: list[float]
    seconds: float
    drawn: int  # tokens
    evaluated: int  # positions that the model was run on
    padding: int  # and those that only filled a batch
    distinct: int  # tokens of the prompt and of all texts, each once where they begin alike
    passes: int

    @property
    def z(self) -> float:
        return math.fsum(self.weights)


class Trie:
    """Distinct tokens of sequences that begin alike."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], int] = {}

    def add(self, tokens: Sequence[int]) -> None:
        """One sequence."""
        at = 0
        for token in tokens:
            at = self.nodes.setdefault((at, token), len(self.nodes) + 1)


class Exact:
    """The posterior of every text, and Z, from every allowed beginning; a text ends with the end token or
    with its `new`-th token."""

    def __init__(self, network: Any, work: Work, decode: Callable[[list[int]], str], eos: int) -> None:
        self.network, self.work, self.decode, self.eos = network, work, decode, eos
        self.mass: dict[str, float] = {}
        live = [((), 0.0)]
        for depth in range(work.new):
            live = [found for i in range(0, len(live), 64) for found in self._grow(live[i : i + 64], depth)]
        self.z = math.fsum(self.mass.values())
        self.posterior = {text: p / self.z for text, p in self.mass.items()}

    def _grow(self, chunk: list[Any], depth: int) -> list[Any]:
        """What may follow each of some beginnings; those that end are weighed."""
        rows = torch.tensor([[*self.work.prompt, *tokens] for tokens, _ in chunk])
        with torch.inference_mode():
            logps = self.network(rows).logits[:, -1].double().log_softmax(-1).tolist()
        going = []
        for (tokens, logp), row in zip(chunk, logps, strict=True):
            for token, step in enumerate(row):
                text = self.decode([*tokens] if token == self.eos else [*tokens, token])
                if not self.work.constraint.allows(text):
                    continue
                if token == self.eos or depth == self.work.new - 1:
                    self.mass[text] = self.mass.get(text, 0.0) + math.exp(logp + step)
                else:
                    going.append(((*tokens, token), logp + step))
        return going
