"""Random forests of branches, evaluated in random passes; an engine's bookkeeping, kept naive."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import torch

from outthink.core.batch import Batch, Segment
from outthink.models.base import Model


@dataclass
class Branch:
    """A segment of the forest: its tokens, where they are cached, how many have been evaluated."""

    parent: int
    tokens: list[int]
    start: int = 0
    done: int = 0


@dataclass
class Forest:
    """Branches, parents first; children begin where their parent ends."""

    branches: list[Branch] = field(default_factory=list)
    slots: int = 0

    @classmethod
    def random(cls, random: Random, vocab: int, branches: int, longest: int = 12, gap: int = 3) -> Forest:
        """A random forest with random gaps between the branches' cache extents."""
        forest = cls()
        for index in range(branches):
            parent = random.randrange(-1, index) if random.random() < 0.9 else -1
            tokens = [random.randrange(vocab) for _ in range(random.randint(1, longest))]
            forest.branches.append(Branch(parent, tokens))
        order = list(range(branches))
        random.shuffle(order)
        for index in order:
            forest.branches[index].start = forest.slots
            forest.slots += len(forest.branches[index].tokens) + random.randint(0, gap)
        return forest

    def path(self, index: int) -> list[int]:
        """Tokens from the root to the end of a branch."""
        return self.prefix(index) + self.branches[index].tokens

    def prefix(self, index: int) -> list[int]:
        """Tokens before a branch."""
        parent = self.branches[index].parent
        return [] if parent < 0 else self.path(parent)

    def depth_first(self) -> list[int]:
        """Branches, each followed by those below it."""
        order: list[int] = []

        def visit(parent: int) -> None:
            for index, branch in enumerate(self.branches):
                if branch.parent == parent:
                    order.append(index)
                    visit(index)

        visit(-1)
        return order

    def batch(self, take: dict[int, int]) -> tuple[Batch, list[tuple[int, int]]]:
        """A pass over the next `take[index]` tokens of branches, and (branch, token) of each row."""
        batch, rows = Batch(), []
        lengths = {i: b.done + take.get(i, 0) for i, b in enumerate(self.branches)}
        batch.segments = [Segment(b.parent, b.start, lengths[i]) for i, b in enumerate(self.branches)]
        for index in self.depth_first():
            branch = self.branches[index]
            for at in range(branch.done, lengths[index]):
                batch.tokens.append(branch.tokens[at])
                batch.positions.append(len(self.prefix(index)) + at)
                batch.slots.append(branch.start + at)
                batch.segment.append(index)
                batch.visible.append(at + 1)
                rows.append((index, at))
        return batch, rows

    def passes(self, random: Random) -> list[tuple[Batch, list[tuple[int, int]]]]:
        """Split all work into random passes; a branch starts when its parent is done, or in the same pass."""
        result = []
        while any(branch.done < len(branch.tokens) for branch in self.branches):
            take = self._some_work(random)
            if take:
                result.append(self.batch(take))
                for index, count in take.items():
                    self.branches[index].done += count
        return result

    def _some_work(self, random: Random) -> dict[int, int]:
        take: dict[int, int] = {}
        for index, branch in enumerate(self.branches):
            parent = self.branches[branch.parent] if branch.parent >= 0 else None
            ready = parent is None or parent.done + take.get(branch.parent, 0) == len(parent.tokens)
            left = len(branch.tokens) - branch.done
            if ready and left and random.random() < 0.7:
                take[index] = random.choice([1, left, random.randint(1, left)])
        return take


def evaluate(model: Model, forest: Forest, random: Random) -> dict[tuple[int, int], torch.Tensor]:
    """Logits of random wanted rows of all passes, by (branch, token)."""
    store = model.new_store(forest.slots)
    logits: dict[tuple[int, int], torch.Tensor] = {}
    for batch, rows in forest.passes(random):
        batch.wanted = sorted(random.sample(range(len(rows)), random.randint(0, len(rows))))
        out = model.forward(batch, store)
        assert out.shape == (len(batch.wanted), model.config.vocab)
        logits.update({rows[row]: out[i] for i, row in enumerate(batch.wanted)})
    return logits
