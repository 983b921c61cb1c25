"""What every step search shares: rounds of growing and judging, the best answer so far, and its end."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.judging import judge
from outthink.core.protocols import Verifier
from outthink.core.tasks import gather
from outthink.core.types import Answer, Budget
from outthink.core.work import Limit
from outthink.stats import normalise
from outthink.strategy._steps import LOWEST, UNFINISHED, Node, Steps, ranked
from outthink.strategy.vote import elect

SELECTS = ("best", "vote")

Value = Callable[[Sequence[Node]], Awaitable[list[float]]]


class Best:
    """The best node so far by `order`, offered whenever it changes."""

    def __init__(self, order: Callable[[Node], Any] | None = None) -> None:
        self.node: Node | None = None
        self.order = order or standing
        self.offers = 0

    def see(self, nodes: Iterable[Node]) -> None:
        """Take note of scored nodes: complete ones before those that a cap cut, these before unfinished
        ones."""
        known = [] if self.node is None else [self.node]
        best = min([*known, *nodes], key=self.order, default=None)
        if best is None or best is self.node:
            return
        self.node, self.offers = best, self.offers + 1
        rank = max(best.score, LOWEST) if best.is_complete else UNFINISHED / self.offers
        best.branch.offer(best.answer(), rank)


class Search:
    """One search under way.

    A round forks every planned branch, lets all write one step at once, judges what is new in one batch, and
    offers the best so far. Nothing in it depends on who ends first.
    """

    def __init__(self, root: Branch, part: Any) -> None:
        self.part = part
        if (verifier := getattr(part, "verifier", None)) is not None:
            root.record(*verifier.records)
        self.steps = Steps.of(part, root)
        self.root = Node(root, root.text())
        self.value: Value = self.judge
        self.ended: list[Node] = []
        self.best = Best()
        self.has_steps = False
        self.rounds = 0
        self.block: Limit | None = None
        self.fresh: dict[tuple[int, ...], Node] = {}  # by path: what is written in this round, not judged yet

    def within(self) -> Limit:
        """The block that a search works in: a budget ends the block, and `conclude` follows.

        As many tokens as a step may have are kept back from it, to write the best so far to its end where
        nothing has ended; a budget of fewer is one sample's.
        """
        self.block = self.root.branch.limit("search", keep=Budget(written=self.steps.tokens))
        return self.block

    async def judge(self, nodes: Sequence[Node]) -> list[float]:
        """The verifier's value of each node, in one batch."""
        verifier: Verifier = self.part.verifier
        return [score.value for score in await judge(verifier, [node.candidate() for node in nodes])]

    async def grow(self, plan: Iterable[tuple[Node, int]], merge: bool = True) -> list[Node]:
        """One round: so many new children of each planned node, written together and judged in one batch.

        With `merge`, a child whose parent has written the same before is not new: the `count` of the first
        grows, and it is judged once.
        """
        new = await self.write(plan, merge)
        if new:
            for node, score in zip(new, await self.value(new), strict=True):
                node.score = score
            self.welcome(new)
        self.fresh.clear()
        return new

    async def write(self, plan: Iterable[tuple[Node, int]], merge: bool = True) -> list[Node]:
        """The writing of a round: the new children, not judged yet."""
        self.rounds += 1
        forked = [(node, branch) for node, n in plan if n > 0 for branch in node.branch.fork(n)]
        written = await gather(*(self.step(branch, node) for node, branch in forked))
        return [node for node in written if _adopt(node, merge)]

    async def step(self, branch: Branch, parent: Node, temperature: float | None = None) -> Node:
        """Write one step on a branch."""
        node = self.fresh[branch.path] = await self.steps.write(branch, parent, temperature)
        self.has_steps |= not node.ended
        return node

    async def rest(self, branch: Branch, parent: Node, temperature: float | None = None) -> Node:
        """Write all that is left of a text: nobody looks at its steps, only at where they lead."""
        begin = len(branch)
        node = self.fresh[branch.path] = await self.steps.write_all(branch, parent, temperature)
        if not self.has_steps:
            self.has_steps = self.steps.delimiter in branch.text(begin).strip()
        return node

    def welcome(self, nodes: Sequence[Node]) -> None:
        """Take note of judged nodes: those that ended are answers; the best so far is offered."""
        self.ended += [node for node in nodes if node.ended]
        self.best.see(nodes)

    async def complete(self, node: Node) -> None:
        """Write on below a node until the text ends, and judge only that."""
        [tip] = await futures(self, [node], most=None)
        [tip.score] = await self.value([tip])
        self.welcome([tip])

    async def conclude(
        self, select: str = "best", among: Sequence[Node] | None = None, merge: bool = False
    ) -> Answer:
        """The answer of `among`, or of all that ended; with `merge`, equal texts count once.

        What ended in a round that the budget cut is judged first. If nothing has ended, the best that can go
        on is written to its end.
        """
        if self.block is not None and self.block.scope is not None and self.block.scope.exhausted:
            why = f"{self.block.scope.exhausted} ended the search in round {self.rounds}"
            self.root.branch.degrade("budget", f"{why}; what had ended by then was judged")
        late = [self.fresh.pop(path) for path in sorted(self.fresh)]
        if late := [node for node in late if node.ended and not node.branch.is_closed]:
            for node, score in zip(late, await self.value(late), strict=True):
                node.score = score
            self.welcome(late)
        if not self.ended:
            await self.complete(self.best.node or self.root)
        ended = sorted(among or self.ended, key=standing)
        if merge:
            ended = list({(node.text, node.ended): node for node in reversed(ended)}.values())
        return self.answer(ended, select)

    def drop(self, nodes: Iterable[Node]) -> None:
        """Close the branches of unfinished nodes that will not be grown again: their cache is free."""
        for node in nodes:
            if not node.ended and node is not self.root and node is not self.best.node:
                node.branch.close()

    def report(self) -> None:
        """Say on the receipt if nothing could be split into steps."""
        if not self.has_steps:
            why = f"no text went on after {self.steps.delimiter!r}: whole answers were sampled and judged"
            self.root.branch.degrade("steps", why)

    def answer(self, ended: Sequence[Node], select: str = "best") -> Answer:
        """The answer of nodes that ended: the best one, or the heaviest class of answers by sum of scores.

        What was cut by a cap counts only where nothing is complete.
        """
        self.report()
        order = sorted(ended, key=standing)
        if select == "vote":
            pool = [node for node in order if node.is_complete] or order
            return weighted([node.answer() for node in pool], [node.score for node in pool], self.part)
        answers = [node.answer() for node in order]
        return replace(answers[0], others=tuple(answers[1:]))


def weighted(answers: Sequence[Answer], weights: Sequence[float], part: Any) -> Answer:
    """A vote in which every answer weighs as much as its score; no word (-inf) weighs nothing."""
    heard = [0.0 if weight == -math.inf else weight for weight in weights]
    if min(heard) < 0:
        raise BadInput(f"{part!r}: a vote needs scores of at least 0; give select='best'")
    return elect(answers, heard)


def softmax(scores: Sequence[float], temperature: float) -> list[float]:
    """Shares in proportion to exp(score / temperature); an infinite largest score shares with its equals
    alone."""
    top = max(scores)
    if math.isinf(top):
        return [(score == top) / scores.count(top) for score in scores]
    return normalise((score - top) / temperature for score in scores)


def allot(shares: Sequence[float], n: int) -> list[int]:
    """Largest remainder: whole numbers that sum to n, each the floor or the ceiling of n * share.

    `shares` are not negative and sum to 1. Equal remainders go to the earlier one; what differs by rounding
    is equal.
    """
    exact = [n * share for share in shares]
    counts = [math.floor(x + 1e-9) for x in exact]
    order = sorted(range(len(exact)), key=lambda i: (-round(exact[i] - counts[i], 9), i))
    for i in order[: n - sum(counts)]:
        counts[i] += 1
    return counts


def check_select(part: Any) -> None:
    """ValueError unless the field `select` is one of the known ways."""
    if part.select not in SELECTS:
        raise ValueError(f"select={part.select!r}: give 'best' or 'vote'")


def _adopt(node: Node, merge: bool) -> bool:
    """Make a node its parent's child; False if, merging, the parent has one with the same text."""
    assert node.parent is not None
    said = (
        (node.text, node.ended) if merge else None
    )  # read off now: branches close, nodes are compared later
    for other in node.parent.children if merge else ():
        if (other.text, other.ended) == said:
            other.count += 1
            node.branch.close()
            return False
    node.parent.children.append(node)
    return True


def standing(node: Node) -> tuple[int, float, tuple[int, ...]]:
    """Complete before cut before unfinished, then by score, then by path."""
    return (0 if node.is_complete else 1 if node.ended else 2, -node.score, node.branch.path)


async def beam_search(search: Search, width: int, expand: int, least: float | None = None) -> list[Node]:
    """Beam search over steps: the beam that is left when all in it have ended.

    beam = [root]
    while something in the beam has not ended:
        children = width * expand samples, shared evenly among the unfinished
        beam = the `width` best of children and ended nodes; what scores below `least` is left out

    The samples of a round do not get fewer as nodes end, or as equal texts become one node.
    """
    beam = [search.root]
    while live := [node for node in beam if not node.ended]:
        counts = allot([1 / len(live)] * len(live), width * expand)
        pool = [node for node in beam if node.ended] + await search.grow(zip(live, counts, strict=True))
        beam = [node for node in ranked(pool) if least is None or node.score >= least][:width]
        search.drop([*live, *(node for node in pool if node not in beam)])
    return beam


async def foresee(
    search: Search, nodes: Sequence[Node], most: int | None, temperature: float | None = None
) -> list[float]:
    """The value of each node is the verifier's of its future. Futures that end are answers too."""
    tips = await futures(search, nodes, most, temperature)
    values = await search.judge(tips)
    for tip, value in zip(tips, values, strict=True):
        tip.score = value
    search.welcome([tip for node, tip in zip(nodes, tips, strict=True) if tip is not node and tip.ended])
    search.fresh.clear()
    return values


async def futures(
    search: Search, nodes: Sequence[Node], most: int | None, temperature: float | None = None
) -> list[Node]:
    """Where each node leads, written on a fork: `most` steps on, None to the end. What has ended is its own
    future."""

    async def future(node: Node, branch: Branch) -> Node:
        if most is None:
            return await search.rest(branch, node, temperature)
        tip, steps = node, 0
        while not tip.ended and steps < most:
            tip, steps = await search.step(branch, node, temperature), steps + 1
        return tip

    goes_on = [node for node in nodes if not node.ended and most != 0]
    forked = [node.branch.fork()[0] for node in goes_on]
    found = dict(zip(goes_on, await gather(*map(future, goes_on, forked)), strict=True))
    return [found.get(node, node) for node in nodes]
