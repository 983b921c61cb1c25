"""Diverse beam search over tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import NamedTuple

from outthink.core.branch import Branch
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Best, standing
from outthink.strategy._steps import Node
from outthink.strategy._tokens import Tokens, likeliest, longest_first


class Choice(NamedTuple):
    """A hypothesis that a group may keep: a node as it is (it has ended), or one more token on it."""

    score: float
    node: Node
    token: int = -1


@dataclass(frozen=True)
class DiverseBeam:
    """Beam search in groups; a token that earlier groups chose at the same position is penalised.

    at each position, for g = 1 .. groups:
        score(y + v) = score(y) + log p(v | y) - penalty * (how often groups 1 .. g-1 chose v here)
        group g keeps its width / groups best; what has ended stays with its score

    One group, or no penalty, is beam search of that width. Log-probabilities are the model's own (temperature
    1, no truncation). The answer is the hypothesis with the highest log-probability, the others follow in
    that order. Vijayakumar et al., "Diverse Beam Search: Decoding Diverse Solutions from Neural Sequence
    Models", arXiv 1610.02424 (Hamming diversity).
    """

    width: int = 4
    groups: int = 2
    penalty: float = 0.5

    needs = Can.GENERATE | Can.PEEK
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.groups < 1 or self.width < 1 or self.width % self.groups:
            raise ValueError(f"width={self.width}, groups={self.groups}: give a width that groups divide")
        if not self.penalty >= 0:
            raise ValueError(f"penalty={self.penalty}: give 0 or more")

    async def __call__(self, root: Branch, /) -> Answer:
        tokens, best = Tokens(root), Best(longest_first)
        found = [start] = [tokens.start(root)]
        beams = [[start] for _ in range(self.groups)]
        while any(not node.ended for beam in beams for node in beam):
            beams = await self._position(tokens, beams)
            found = [replace(node, score=node.branch.logprob) for beam in beams for node in beam]
            best.see(found)
        answers = [node.answer() for node in sorted(found, key=standing)]
        return replace(answers[0], others=tuple(answers[1:]))

    async def _position(self, tokens: Tokens, beams: list[list[Node]]) -> list[list[Node]]:
        """The groups' beams, one token further."""
        live = list(dict.fromkeys(node for beam in beams for node in beam if not node.ended))
        tops = dict(zip(live, await gather(*(likeliest(node, self.width) for node in live)), strict=True))
        chosen, taken = [], Counter[int]()
        for beam in beams:
            kept = self._best(beam, tops, taken)
            taken.update(choice.token for choice in kept if choice.token >= 0)
            chosen.append(kept)
        forked = [_forked(choice) for kept in chosen for choice in kept]
        grown = iter(await gather(*(_grow(tokens, choice, branch) for choice, branch in forked)))
        for node in live:
            if node.parent is not None:
                node.branch.close()
        return [[next(grown) for _ in kept] for kept in chosen]

    def _best(
        self, beam: Sequence[Node], tops: dict[Node, list[tuple[int, float]]], taken: Counter[int]
    ) -> list[Choice]:
        """What a group keeps. The `width` likeliest tokens of each node are enough: fewer are penalised."""
        pool = [(-node.score, node.branch.path, -1, node) for node in beam if node.ended]
        for node in beam:
            score, path = node.score, node.branch.path
            pool += [
                (-(score + p - self.penalty * taken.get(v, 0)), path, v, node) for v, p in tops.get(node, ())
            ]
        pool.sort(key=itemgetter(0, 1, 2))
        return [Choice(-cost, node, v) for cost, _, v, node in pool[: self.width // self.groups]]


def _forked(choice: Choice) -> tuple[Choice, Branch]:
    return choice, choice.node.branch.fork()[0] if choice.token >= 0 else choice.node.branch


async def _grow(tokens: Tokens, choice: Choice, branch: Branch) -> Node:
    if choice.token < 0:
        return choice.node
    node = await tokens.write(choice.node, branch, choice.token)
    node.score = choice.score
    return node
