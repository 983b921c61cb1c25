"""Permutation self-consistency: ask in many orders, so that none of them decides."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from outthink.core.branch import Branch
from outthink.core.errors import BadInput, PromptTooLong
from outthink.core.protocols import Strategy
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._prompts import at_least_one, numbers_in
from outthink.strategy._ranking import borda, kemeny
from outthink.strategy.once import Once
from outthink.strategy.vote import elect

LIST_ITEM = re.compile(r"^([ \t]*(?:[-*•]|\[\d+\]|\(?\d+[.)])[ \t]+)(\S.*)$", re.MULTILINE)
PREMISE = re.compile(r"(?:(?<=^)|(?<=[.!?]\s))(\S[^.!?\n]*(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?])(?=\s)")


def places(prompt: str, unit: str) -> list[tuple[int, int]]:
    """Where the movable texts of a prompt are, [start, end): contents of list lines, or all sentences that
    something follows."""
    if unit == "list":
        return [match.span(2) for match in LIST_ITEM.finditer(prompt)]
    return [match.span(1) for match in PREMISE.finditer(prompt)]


def moved(prompt: str, spans: Sequence[tuple[int, int]], order: Sequence[int]) -> str:
    """The prompt with text order[i] at place i; all between the places stays."""
    out, at = [], 0
    for (start, end), item in zip(spans, order, strict=True):
        out += [prompt[at:start], prompt[slice(*spans[item])]]
        at = end
    return "".join([*out, prompt[at:]])


def read_ranking(text: str | None, order: Sequence[int]) -> list[int] | None:
    """The items that an answer such as `[2] > [1] > [3]` ranks, in the numbering of the prompt, as items of
    the list that was permuted. None for an answer without numbers, or with one that there is not."""
    numbers = list(dict.fromkeys(numbers_in(text or "")))
    if not numbers or not all(1 <= n <= len(order) for n in numbers):
        return None
    return [order[n - 1] for n in numbers]


@dataclass(frozen=True)
class Permute:
    """Ask with the items in n different orders, and let the answers vote or be joined into one ranking.

    unit="list": the contents of bulleted or numbered lines move, their marks stay; "sentences": all sentences
    but the last (the question) move. join="vote": the largest class of final answers; "kemeny": each answer
    ranks the items by number, and the ranking with the least sum of Kendall tau distances to all wins (exact
    up to 12 items); "borda": items by mean rank. Where n reaches the number of orders, each is asked once
    and the result does not depend on the order given; else the orders are distinct draws. Answers that rank
    nothing are left out. n=6, all orders of three items, is ours: of longer lists more come closer to the
    mean over all. Tang et al., "Found in the Middle: Permutation Self-Consistency Improves Listwise
    Ranking in Large Language Models", arXiv 2310.07712; Chen et al., "Premise Order Matters in Reasoning with
    Large Language Models", arXiv 2402.08939.
    """

    n: int = 6
    unit: str = "list"
    join: str = "vote"
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        at_least_one(n=self.n)
        if self.unit not in ("list", "sentences"):
            raise ValueError(f"unit={self.unit!r}: give 'list' or 'sentences'")
        if self.join not in ("vote", "kemeny", "borda"):
            raise ValueError(f"join={self.join!r}: give 'vote', 'kemeny' or 'borda'")

    async def __call__(self, root: Branch, /) -> Answer:
        prompt = root.problem.prompt
        spans = places(prompt, self.unit)
        if len(spans) < 2 and self.join != "vote":
            raise BadInput(f"permute(join={self.join!r}) needs a list of items to rank; there is none")
        if len(spans) < 2:
            root.degrade("permute", f"the question has no {self.unit} to permute")
        names = [prompt[slice(*span)] for span in spans]
        orders = self._orders(root, names)
        ended: dict[int, Answer] = {}

        async def one(i: int, order: Sequence[int]) -> None:
            answer = await self._ask(root, moved(prompt, spans, order))
            if answer is not None:
                ended[i] = answer
                root.offer(self._joined(ended, orders, names), rank=len(ended))

        await gather(*(one(i, order) for i, order in enumerate(orders)))
        if not ended:
            raise PromptTooLong("permute: none of the orders fits the model's context")
        return self._joined(ended, orders, names)

    def _orders(self, root: Branch, names: Sequence[str]) -> list[tuple[int, ...]]:
        """All orders where n reaches their number, in the order of the items' texts; else n distinct ones."""
        k = len(names)
        if k <= 8 and math.factorial(k) <= self.n:
            return list(itertools.permutations(sorted(range(k), key=lambda i: (names[i], i))))
        chance, found = root.chance("order"), dict[tuple[int, ...], None]()
        index = 0
        while len(found) < self.n:
            found[tuple(chance.subset([0.0] * k, k, index=index))] = None
            index += 1
        return list(found)

    async def _ask(self, root: Branch, question: str) -> Answer | None:
        try:
            branch = await root.ask(question, is_problem=True)
        except PromptTooLong as error:
            root.degrade("context", f"an order was left out: {error}")
            return None
        return await self.inner(branch)

    def _joined(
        self, ended: dict[int, Answer], orders: Sequence[Sequence[int]], names: Sequence[str]
    ) -> Answer:
        answers = [ended[i] for i in sorted(ended)]
        if self.join == "vote":
            return elect(answers)
        read = [read_ranking(ended[i].final, orders[i]) for i in sorted(ended)]
        rankings = [ranking for ranking in read if ranking is not None]
        if not rankings:
            return replace(answers[0], final=None, score=0.0)
        central = (kemeny if self.join == "kemeny" else borda)(rankings, names)
        final = " > ".join(f"[{i + 1}]" for i in central)
        told = "\n".join(f"{at}. {names[i]}" for at, i in enumerate(central, 1))
        score = len(rankings) / len(answers)
        return Answer(f"{told}\nA: {final}", final, score, "done", others=tuple(answers))
