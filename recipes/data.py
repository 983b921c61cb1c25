"""Training batches made on the fly from the four families (train split only)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from outthink.bench.tasks import load
from outthink.core.problem import Problem, Task

FAMILIES = {"steps": 1.0, "countdown": 1.0, "paths": 1.0, "procedures": 1.0}  # share of documents
LEVELS = (3.0, 3.0, 3.0, 3.0, 2.0, 2.0, 1.0, 1.0)  # share of each level inside a family
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
        self.index = rank
        self.families = list(FAMILIES)
        self.tasks = {n: [load(n, level=k + 1, seed=seed) for k in range(len(LEVELS))] for n in self.families}

    def document(self) -> Document:
        """The next problem of a random family and level."""
        family = self.random.choices(self.families, [*FAMILIES.values()])[0]
        task: Task = self.random.choices(self.tasks[family], LEVELS)[0]
        self.index += self.world
        return encode(self.tokenizer, task.problem("train", self.index))

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(tokens, labels), right-padded, of documents of like length, at most `tokens` cells each."""
        while True:
            documents = sorted((self.document() for _ in range(1024)), key=lambda d: len(d[0]))
            groups: list[list[Document]] = [[]]
            for document in documents:
                if (len(groups[-1]) + 1) * len(document[0]) > self.tokens:
                    groups.append([])
                groups[-1].append(document)
            self.random.shuffle(groups)
            for group in groups:
                yield pack(group)


def pack(group: list[Document]) -> tuple[Tensor, Tensor]:
    """Inputs and next-token labels; only tokens of the solution count."""
    width = max(len(tokens) for tokens, _ in group) - 1
    inputs = torch.full((len(group), width), PAD)
    labels = torch.full((len(group), width), IGNORE)
    for row, (tokens, head) in enumerate(group):
        inputs[row, : len(tokens) - 1] = torch.tensor(tokens[:-1])
        labels[row, head - 1 : len(tokens) - 1] = torch.tensor(tokens[head:])
    return inputs, labels
