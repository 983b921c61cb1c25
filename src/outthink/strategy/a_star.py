"""A* over partial solutions, guided by a verifier of steps."""

from __future__ import annotations

import heapq
import math
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

    The tree is what the model happened to write. Where a solution comes first whose reward is below `enough`,
    the search begins again with all that it has, but for that solution: what was expanded may be once more,
    and gets `expand` more samples. enough=0 takes the first, as A* does; enough=1 goes on until nothing could
    be better; at temperature 0, where the model would only repeat itself, the first stands. `expansions`
    bounds all of it; then the best that ended stands, and if nothing did, the best open node is written to
    its end. BadInput for rewards outside [0, 1]; what got no word (-inf) comes last. Chatziveroglou,
    "A*-Decoding: Token-Efficient Inference Scaling", arXiv 2505.13672; the cost and `enough` are ours.
    """

    verifier: Verifier
    expand: int = 4
    expansions: int = 32
    weight: float = 1.0
    enough: float = 0.0
    step: str = "\n"
    step_tokens: int = 64

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_counts(self, "expand", "expansions")
        if not self.weight >= 0:
            raise ValueError(f"weight={self.weight}: give 0 or more")
        if not 0 <= self.enough <= 1:
            raise ValueError(f"enough={self.enough}: give a reward from 0 to 1")

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        search.root.score = 1.0
        known, left = [search.root], self.expansions  # known: what may be grown, or ended and may come first
        goes_on = self.enough > 0 and root.sampling.temperature > 0
        with search.within():
            while True:
                first, left = await self._first(search, known, left)
                if first is not None and (first.score >= self.enough or not goes_on):
                    others = tuple(other.answer() for other in search.ended if other is not first)
                    return replace(search.answer([first]), others=others)
                if first is not None:
                    known.remove(first)
                elif not (left and goes_on):
                    break
        return await search.conclude()

    async def _first(self, search: Search, known: list[Node], left: int) -> tuple[Node | None, int]:
        """The ended solution that comes first, and how many expansions are left; adds to `known`."""
        frontier = [self._entry(node) for node in known]
        heapq.heapify(frontier)
        while frontier and (left or frontier[0][-1].ended):
            node = heapq.heappop(frontier)[-1]
            if node.ended:
                return node, left
            for child in await search.grow([(node, self.expand)]):
                if child.is_complete or not child.ended:
                    known.append(child)
                    heapq.heappush(frontier, self._entry(child))
            if not self.enough:
                search.drop([node])
            left -= 1
        return None, left

    def _entry(self, node: Node) -> tuple[float, tuple[int, ...], Node]:
        """(f, path, node); a node's g is kept as its total."""
        if not (0 <= node.score <= 1 or node.score == -math.inf):
            raise BadInput(f"a_star() needs rewards from 0 to 1; {self.verifier!r} gave {node.score}")
        left = 1 - node.score
        if node.parent is not None:
            node.total = node.parent.total + max(0.0, node.parent.score - node.score)
        return (node.total + (1.0 if node.ended else self.weight) * left, node.branch.path, node)
