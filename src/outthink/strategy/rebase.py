"""REBASE: tree search that gives every partial solution as many children as its reward earns."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Search, allot, check_select, softmax
from outthink.strategy._steps import check_counts


@dataclass(frozen=True)
class Rebase:
    """Reward-balanced search: each round's n steps are allotted by softmax of the rewards.

    write n first steps
    until n solutions have ended:
        left = n - ended
        node j gets left * exp(r_j / temperature) / sum_k exp(r_k / temperature) children (largest remainder)

    Every solution that ends takes one of the n with it. Equal texts are counted as often as they are written:
    they are samples. The answer is the class with the largest sum of rewards (`select="vote"`), or the best.
    Wu et al., "An Empirical Analysis of Compute-Optimal Inference for Problem-Solving with Language Models",
    arXiv 2408.00724.
    """

    verifier: Verifier
    n: int = 16
    temperature: float = 0.1
    select: str = "vote"
    step: str = "\n"
    step_tokens: int = 64

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_counts(self, "n")
        check_select(self)
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature}: give more than 0")

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        live, counts = [search.root], [self.n]
        with search.within():
            while live:
                children = await search.grow(zip(live, counts, strict=True), merge=False)
                search.drop(live)
                live = [node for node in children if not node.ended]
                if live:
                    shares = softmax([node.score for node in live], self.temperature)
                    counts = allot(shares, self.n - len(search.ended))
        return await search.conclude(self.select)
