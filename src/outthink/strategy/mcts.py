"""Monte Carlo tree search over steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Search, check_select, foresee, softmax
from outthink.strategy._steps import Node, check_counts


def uct(parent: Node, child: Node, c: float) -> float:
    """Mean value + c * sqrt(ln N(parent) / N(child))."""
    return child.total / child.visits + c * math.sqrt(math.log(parent.visits) / child.visits)


def puct(parent: Node, child: Node, c: float) -> float:
    """Mean value + c * P(child) * sqrt(N(parent)) / (1 + N(child)); P is the model's, over the siblings."""
    siblings = parent.children
    prior = softmax([sibling.logprob for sibling in siblings], 1.0)[siblings.index(child)]
    return child.total / child.visits + c * prior * math.sqrt(parent.visits) / (1 + child.visits)


RULES = {"uct": uct, "puct": puct}


@dataclass(frozen=True)
class Mcts:
    """Each simulation walks down by the rule, writes `expand` next steps, judges them, and backs all values
    up.

    repeat `simulations` times:
        node = root; while it was expanded: node = argmax over open children of rule(node, child, c)
        for every new child of the node, value v: N += 1 and total += v at the child and all above it

    So N(node) = 1 + sum of N(children), the root's without the 1. A node is open until it has ended or all
    below it have: an ended solution is never walked to again, nothing about it could change, and it counts
    once in the answer. With `rollout` a child's value is that of a solution sampled below it to the end,
    which is an answer too. `wave` leaves are expanded at a time, each the best when those before it are left
    out.

    The children are what the model happened to write. When nothing is open, all that has not ended is open
    again, and expanded once more when a walk comes by; equal texts below one parent are one. At temperature
    0, where the model would only repeat itself, the search stops there.

    Kocsis and Szepesvari, "Bandit based Monte-Carlo Planning"
    (UCT); Silver et al., "Mastering the game of Go without human knowledge" (PUCT).
    """

    verifier: Verifier
    simulations: int = 16
    expand: int = 4
    c: float = 1.0
    rule: str = "uct"
    rollout: bool = False
    wave: int = 1
    select: str = "best"
    step: str = "\n"
    step_tokens: int = 64

    remote_safe = True
    __repr__ = show

    @property
    def needs(self) -> Can:
        """PUCT's priors are what the model said of its steps."""
        return Can.GENERATE | (Can.LOGPROBS if self.rule == "puct" else Can(0))

    def __post_init__(self) -> None:
        check_counts(self, "simulations", "expand", "wave")
        check_select(self)
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule!r}: give 'uct' or 'puct'")
        if not self.c >= 0:
            raise ValueError(f"c={self.c}: give 0 or more")

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        if self.rollout:
            search.value = lambda nodes: foresee(search, nodes, most=None)
        left, often = self.simulations, 1
        with search.within():
            while left and not search.root.ended:
                leaves = self.leaves(search.root, min(self.wave, left), often)
                if not leaves and not root.sampling.temperature:
                    break
                for child in await search.grow([(leaf, self.expand) for leaf in leaves]):
                    backup(child, child.score)
                for leaf in leaves:
                    leaf.grown += 1
                left, often = left - len(leaves), often + (not leaves)
        return await search.conclude(self.select, merge=True)

    def leaves(self, root: Node, n: int, often: int = 1) -> list[Node]:
        """The next n nodes to expand, of those that were expanded fewer than `often` times; fewer if fewer
        are open."""
        taken: list[Node] = []
        while len(taken) < n and is_open(root, taken, often):
            node = root
            while node.grown >= often or node in taken:
                node = self.choose(node, [child for child in node.children if is_open(child, taken, often)])
            taken.append(node)
        return taken

    def choose(self, parent: Node, children: Sequence[Node]) -> Node:
        """The child that the rule likes best; ties go to the earlier branch."""
        rule = RULES[self.rule]
        return min(children, key=lambda child: (-rule(parent, child, self.c), child.branch.path))


def backup(node: Node, value: float) -> None:
    """Add a value to a node and all above it; no word (-inf) leaves the means above as they are."""
    at: Node | None = node
    while at is not None:
        mean = at.total / at.visits if at.visits else 0.0
        heard = mean if value == -math.inf and at is not node else value
        at.visits, at.total = at.visits + 1, at.total + heard
        at = at.parent


def is_open(node: Node, taken: Sequence[Node], often: int) -> bool:
    """Whether the node or any below it can be expanded: not ended, not taken, expanded fewer than `often`
    times."""
    stack, seen = [node], []
    while stack:
        at = stack.pop()
        if at.ended or at.closed >= often:
            continue
        if at.grown < often and at not in taken:
            return True
        seen.append(at)
        stack += at.children
    if not taken:  # for good: whoever gets children is open
        for at in seen:
            at.closed = often
    return False
