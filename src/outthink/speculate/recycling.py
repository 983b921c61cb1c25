"""Recycling: the tokens that were likely after a token lately are guessed after it again, as a tree."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Studio, Tip
from outthink.spec import show
from outthink.speculate._rates import Rates
from outthink.speculate._trees import Child, Shape, check_shape, grow

DEEPEST = 6  # levels that have rates of their own
MOST_K = 64


@dataclass(frozen=True)
class Recycling:
    """Keep the k likeliest tokens that the model last said after each token; a draft walks that matrix.

        M[t] = the k likeliest tokens at the last checked row whose token was t, accepted or not
        children of a node t = M[t]; guess = the tree's n likeliest nodes, by how often rank r was right

    The matrix is int32 [vocabulary, k], empty at first. Luo et al., "Turning Trash into Treasure:
    Accelerating Inference of Large Language Models with Token Recycling", which keeps 8 candidates and walks
    them breadth first by one fixed tree: `recycling(k=8, n=64, shape=(8, 3, 1))` is of that kind. Fewer
    nodes, the likeliest, are the default because a checked node is not free on a CPU.
    """

    n: int = 16
    k: int = 4
    shape: Shape = "best_nodes"

    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_shape(self.shape, self.n)
        if not 1 <= self.k <= MOST_K:
            raise ValueError(f"k={self.k}: give 1 to {MOST_K}: the matrix is vocabulary x k")

    def open(self, studio: Studio) -> RecyclingSource:
        return RecyclingSource(self, studio)


class RecyclingSource:
    """The matrix of recent candidates, shared by all branches of a run."""

    name = "recycling"

    def __init__(self, config: Recycling, studio: Studio) -> None:
        self.config = config
        self.tops = min(config.k, studio.vocab)
        import numpy as np  # here, so that a command line that drafts nothing starts without it

        self.matrix = np.full((studio.vocab, self.tops), -1, np.int32)
        first = [0.5 * 0.4**rank for rank in range(self.tops)]
        self.rates = Rates([p for _ in range(DEEPEST) for p in first])

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        if self.matrix[tip.tokens[-1], 0] < 0:
            return None
        config = self.config
        root = (tip.tokens[-1], 0)
        guess = grow(config.shape, self._expand, root, depth, min(nodes, config.n), self.name)
        tip.local[self] = guess
        return guess.draft if guess else None

    def _expand(self, state: tuple[int, int]) -> list[Child]:
        token, level = state
        base, below, mean = min(level, DEEPEST - 1) * self.tops, level + 1, self.rates.mean
        row = self.matrix[token].tolist()
        return [(t, mean[base + r], base + r, (t, below)) for r, t in enumerate(row) if t >= 0]

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        self.rates.settle(outcome, tip.local.pop(self, None))
        draft = outcome.draft
        last = tip.tokens[len(tip.tokens) - len(outcome.tokens) - 1]
        rows, tops = [], []
        for node, top in outcome.tops.items():
            if len(top) >= self.tops:
                rows.append(last if node < 0 or draft is None else draft.tokens[node])
                tops.append([token for token, _ in top[: self.tops]])
        if rows:
            self.matrix[rows] = tops

    def end(self, tip: Tip) -> None:
        pass

    @property
    def state_bytes(self) -> float:
        return float(self.matrix.nbytes)
