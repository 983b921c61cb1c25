"""A* over partial solutions, guided by a verifier of steps."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Search
from outthink.strategy._steps import Node, check_counts


@dataclass(frozen=True)
class AStar:
    """Always expand the open partial solution with the least f = g + weight * h, until one that ended comes
    first.

    r(s) = verifier(s) in [0, 1], r(root) = 1
    g(s) = sum along the path of max(0, r(before) - r(after))     what the path has lost
    h(s) = 1 - r(s)                                               what it is expected to lose yet

    An ended solution costs f = g + h. Where rewards never rise along a path, h never overestimates: the
    answer then has the least cost of all in the tree. weight=0 needs no such condition and expands more.
    `expansions` bounds the search; then the best that ended stands, and if nothing did, the best open node is
    written to its end. BadInput for rewards outside [0, 1]. Chatziveroglou, "A*-Decoding: Token-Efficient
    Inference Scaling", arXiv 2505.13672; the cost is ours.
    """

    verifier: Verifier
    expand: int = 4
    expansions: int = 32
    weight: float = 1.0
    step: str = "\n"
    step_tokens: int = 64

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_counts(self, "expand", "expansions")
        if not self.weight >= 0:
            raise ValueError(f"weight={self.weight}: give 0 or more")

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        search.root.score = 1.0
        frontier = [self._entry(search.root)]
        left = self.expansions
        with search.within():
            while frontier and (left or frontier[0][-1].ended):
                node = heapq.heappop(frontier)[-1]
                if node.ended:
                    others = tuple(other.answer() for other in search.ended if other is not node)
                    return replace(search.answer([node]), others=others)
                for child in await search.grow([(node, self.expand)]):
                    if child.is_complete or not child.ended:
                        heapq.heappush(frontier, self._entry(child))
                search.drop([node])
                left -= 1
        return await search.conclude()

    def _entry(self, node: Node) -> tuple[float, tuple[int, ...], Node]:
        """(f, path, node); a node's g is kept as its total."""
        if not 0 <= node.score <= 1:
            raise BadInput(f"a_star() needs rewards from 0 to 1; {self.verifier!r} gave {node.score}")
        left = 1 - node.score
        if node.parent is not None:
            node.total = node.parent.total + max(0.0, node.parent.score - node.score)
        return (node.total + (1.0 if node.ended else self.weight) * left, node.branch.path, node)
