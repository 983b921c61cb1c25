"""Diverse beam search over tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import NamedTuple

from outthink.core.branch import Branch
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Best, standing
from outthink.strategy._steps import Node
from outthink.strategy._tokens import Chosen, Likely, Tokens, likeliest, longest_first


class Held(NamedTuple):
    """A hypothesis of a group: its penalised score, and the node, which has the true one."""

    score: float
    node: Node


class Choice(NamedTuple):
    """A hypothesis that a group may keep: a node as it is (it has ended), or one more token on it."""

    score: float
    node: Node
    token: int = -1
    logprob: float = 0.0  # of the token


Beam = list[Held]


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
        start = tokens.start(root)
        start.score = root.logprob
        beams = [[Held(0.0, start)] for _ in range(self.groups)]
        while any(not held.node.ended for beam in beams for held in beam):
            beams = await self._position(tokens, beams)
            best.see([held.node for beam in beams for held in beam])
        found = sorted((held.node for beam in beams for held in beam), key=standing)
        answers = [node.answer() for node in (found if best.node else [start])]
        return replace(answers[0], others=tuple(answers[1:]))

    async def _position(self, tokens: Tokens, beams: Sequence[Beam]) -> list[Beam]:
        """The groups' beams, one token further."""
        live = list(dict.fromkeys(held.node for beam in beams for held in beam if not held.node.ended))
        tops = dict(zip(live, await likeliest(live, self.width), strict=True))
        taken, chosen = Counter[int](), list[list[Choice]]()
        for beam in beams:
            kept = self._best(beam, tops, taken)
            taken.update(choice.token for choice in kept if choice.token >= 0)
            chosen.append(kept)
        growing = [choice for kept in chosen for choice in kept if choice.token >= 0]
        grown = iter(await tokens.write([Chosen(choice.node, choice.token) for choice in growing]))
        for node in live:
            if node.parent is not None:
                node.branch.close()
        return [[_held(choice, grown) for choice in kept] for kept in chosen]

    def _best(self, beam: Beam, tops: dict[Node, Likely], taken: Counter[int]) -> list[Choice]:
        """What a group keeps."""
        most = self.width // self.groups
        pool = [(-score, node.branch.path, -1, 0.0, node) for score, node in beam if node.ended]
        for score, node in beam:
            path, free, least = node.branch.path, 0, 0.0
            for v, p in tops.get(node, ()):
                cost = -(score + p - self.penalty * taken.get(v, 0))
                if free >= most and -(score + p) > least:
                    break  # so many that are not penalised come before all that follow
                if v not in taken:
                    free, least = free + 1, cost
                pool.append((cost, path, v, p, node))
        pool.sort(key=itemgetter(0, 1, 2))
        return [Choice(-cost, node, v, p) for cost, _, v, p, node in pool[:most]]


def _held(choice: Choice, grown: Iterator[Node]) -> Held:
    if choice.token < 0:
        return Held(choice.score, choice.node)
    node = next(grown)
    node.score = choice.node.score + choice.logprob
    return Held(choice.score, node)
