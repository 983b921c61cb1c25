"""Training batches made on the fly from the four families (train split only)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from math import exp
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from outthink.bench.tasks import load
from outthink.core.problem import Problem, Task

FAMILIES = ("steps", "countdown", "paths", "procedures")
LEVELS = 8
STRIDE = 16  # batch widths are multiples of this: few shapes, so that compiled kernels are reused
PAD, BOS, EOS, IGNORE = 0, 1, 2, -100
Document = tuple[list[int], int]  # tokens, how many of them are the question


def tokenizer_in(folder: Path) -> Tokenizer:
    """The tokenizer of a folder."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def question(prompt: str) -> str:
    """What the model reads before it answers."""
    return f"Q: {prompt}\n"


def encode(tokenizer: Tokenizer, problem: Problem) -> Document:
    """<bos> Q: prompt \\n solution \\n <eos>."""
    head = [BOS, *tokenizer.encode(question(problem.prompt), add_special_tokens=False).ids]
    tail = tokenizer.encode(problem.secret.solution + "\n", add_special_tokens=False).ids
    return [*head, *tail, EOS], len(head)


class Stream:
    """An endless stream of batches; worker `rank` of `world` sees its own problems."""

    def __init__(self, tokenizer: Tokenizer, rank: int, world: int, tokens: int, seed: int = 1) -> None:
        self.tokenizer, self.tokens, self.world = tokenizer, tokens, world
        self.random = random.Random(seed * 1000 + rank)
        self.index, self.tau = rank, 1.5
        self.weights = [1.0] * len(FAMILIES)
        self.tasks = {n: [load(n, level=k + 1, seed=seed) for k in range(LEVELS)] for n in FAMILIES}

    def shares(self) -> list[float]:
        """Share of each level, exp(-level / tau): with a growing tau easy problems come first."""
        return [exp(-level / self.tau) for level in range(LEVELS)]

    def mix(self, weights: list[float]) -> None:
        """Set the share of documents of each family."""
        if len(weights) != len(FAMILIES):
            raise ValueError(f"{len(FAMILIES)} shares are needed, for {', '.join(FAMILIES)}")
        self.weights = weights

    def document(self) -> Document:
        """The next problem of a random family and level."""
        family = self.random.choices(FAMILIES, self.weights)[0]
        task: Task = self.random.choices(self.tasks[family], self.shares())[0]
        self.index += self.world
        return encode(self.tokenizer, task.problem("train", self.index))

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(tokens, labels) of documents of like length: width * (tokens // width) cells, width by STRIDE."""
        shelves: dict[int, list[Document]] = {}
        while True:
            document = self.document()
            width = -(-(len(document[0]) - 1) // STRIDE) * STRIDE
            shelf = shelves.setdefault(width, [])
            shelf.append(document)
            if len(shelf) == self.tokens // width:
                yield pack(shelves.pop(width), len(shelf), width)


def pack(group: list[Document], rows: int, width: int) -> tuple[Tensor, Tensor]:
    """Inputs and next-token labels in a (rows, width) block; only tokens of the solution count."""
    inputs = torch.full((rows, width), PAD)
    labels = torch.full((rows, width), IGNORE)
    for row, (tokens, head) in enumerate(group):
        inputs[row, : len(tokens) - 1] = torch.tensor(tokens[:-1])
        labels[row, head - 1 : len(tokens) - 1] = torch.tensor(tokens[head:])
    return inputs, labels
