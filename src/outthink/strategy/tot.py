"""Tree of thoughts: breadth-first with a beam, or depth-first with backtracking."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Search, beam_search
from outthink.strategy._steps import check_counts, ranked


@dataclass(frozen=True)
class Tot:
    """Thoughts are steps; states that score below `threshold` are pruned.

    order="breadth": the `width` best states of each level are expanded, width * expand thoughts in all
    order="depth":   the best thought first; where nothing is left above the threshold, back to the next best,
                     until `solutions` have ended or `expansions` states were expanded

    The answer is the best that ended; if nothing did, the best open state is written to its end. Yao et al.,
    "Tree of Thoughts: Deliberate Problem Solving with Large Language Models", arXiv 2305.10601.
    """

    verifier: Verifier
    order: str = "breadth"
    width: int = 5
    expand: int = 4
    threshold: float | None = None
    solutions: int = 1
    expansions: int = 32
    step: str = "\n"
    step_tokens: int = 64

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_counts(self, "width", "expand", "solutions", "expansions")
        if self.order not in ("breadth", "depth"):
            raise ValueError(f"order={self.order!r}: give 'breadth' or 'depth'")

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        with search.within():
            if self.order == "breadth":
                await beam_search(search, self.width, self.expand, self.threshold)
            else:
                await self._depth(search)
        return await search.conclude()

    async def _depth(self, search: Search) -> None:
        stack, found, left = [search.root], 0, self.expansions
        while stack and found < self.solutions and left:
            node = stack.pop()
            if node.ended:
                found += 1
                continue
            left -= 1
            children = await search.grow([(node, self.expand)])
            good = [c for c in ranked(children) if self.threshold is None or c.score >= self.threshold]
            stack += reversed(good)
            search.drop([node, *(child for child in children if child not in good)])
