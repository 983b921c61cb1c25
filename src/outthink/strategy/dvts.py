"""Diverse verifier tree search: independent greedy searches side by side."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Search, check_select
from outthink.strategy._steps import Node, check_counts, ranked


@dataclass(frozen=True)
class Dvts:
    """`trees` subtrees of the root, each searched greedily: write `expand` next steps, keep the best one.

    each round, in every tree: tip = argmax over expand children of verifier(child)

    No tree sees another, so one wrong high score cannot take the whole beam. The answer is the best of the
    trees' answers, or with `select="vote"` the class with the largest sum of scores. Beeching, Tunstall and
    Rush, "Scaling test-time compute with open models", 2024.
    """

    verifier: Verifier
    trees: int = 4
    expand: int = 4
    select: str = "best"
    step: str = "\n"
    step_tokens: int = 64

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_counts(self, "trees", "expand")
        check_select(self)

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        tips = [search.root] * self.trees
        with search.within():
            while live := [i for i, tip in enumerate(tips) if not tip.ended]:
                children = await search.grow([(tips[i], self.expand) for i in live], merge=False)
                for place, i in enumerate(live):
                    tips[i] = self._best(search, children[place * self.expand : (place + 1) * self.expand])
            return await search.conclude(self.select, among=tips)
        return await search.conclude(self.select)

    def _best(self, search: Search, children: list[Node]) -> Node:
        best, *others = ranked(children)
        search.drop(others)
        return best
