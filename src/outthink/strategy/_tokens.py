"""Searches over tokens: look at the likeliest next tokens, and write chosen ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from outthink.core import together
from outthink.core.branch import Branch
from outthink.core.types import Answer, Want
from outthink.strategy._search import standing
from outthink.strategy._steps import Node, longest, offer_unjudged, read_off, room_on

Likely = Sequence[tuple[int, float]]  # tokens with their log-probabilities, the likeliest first


class Chosen(NamedTuple):
    """A token that is to be written after a node."""

    parent: Node
    token: int


class Tokens:
    """Writes chosen tokens below `root`, as far as the run's sampling lets a text go: a token on each of many
    texts at once.

    Choices are made on the model's own log-probabilities: temperature, truncation and warps are not used.
    """

    def __init__(self, root: Branch) -> None:
        self.limit = longest(root)

    async def write(self, chosen: Sequence[Chosen]) -> list[Node]:
        """Write one of the `likeliest` tokens after each parent, on forks; nodes with its log-probability."""
        picks, nodes = [], list[Node]()
        for parent, token in chosen:
            [branch] = parent.branch.fork()
            assert branch.dist is not None
            picks.append(branch.pick(token, branch.dist))
        while len(nodes) < len(picks):
            left = slice(len(nodes), len(picks))
            ends = await together.choose(picks[left])
            new = zip(chosen[left], picks[left], ends, strict=False)
            nodes += [self._node(*one, pick.branch, pick.drawn.logprob, is_end) for one, pick, is_end in new]
            if len(nodes) < len(
                picks
            ):  # the budget may end here; else the caller makes better offers at once
                for node in nodes[left.start :]:
                    offer_unjudged(node)
        return nodes

    def _node(self, parent: Node, token: int, branch: Branch, logprob: float, is_end: bool) -> Node:
        ended = "eos" if is_end else "stop" if token in branch.sampling.stop_tokens else ""
        ended = ended or ("" if room_on(branch, self.limit) >= 1 else "length")
        text = None
        if branch.sampling.stop:  # they may have ended it
            text, ended = read_off(branch, ended)
        return Node(branch, text, ended, logprob=logprob, parent=parent)

    def start(self, root: Branch) -> Node:
        """The root as a node; ended if there is no room for a token."""
        return Node(root, root.text(), "" if room_on(root, self.limit) >= 1 else "length", score=0.0)


async def finish_greedily(tokens: Tokens, node: Node) -> Answer:
    """A text written on to its end, the likeliest token each time."""
    room = room_on(node.branch, tokens.limit)
    if node.ended or room < 1:
        return node.answer()
    [branch] = node.branch.fork()
    finish = await branch.generate(replace(branch.sampling, temperature=0.0, max_tokens=room))
    return Node(branch, branch.text(), finish.reason, score=branch.logprob).answer()


def longest_first(node: Node) -> tuple[int, float, tuple[int, ...]]:
    """An order for nodes scored by log-probability, which any token lowers: unfinished, the longest is
    best."""
    return standing(node) if node.ended else (2, -len(node.branch), node.branch.path)


async def likeliest(nodes: Sequence[Node], k: int) -> list[Likely]:
    """For each node the k likeliest next tokens; fewer if fewer are possible."""
    if not nodes:
        return []
    branch = nodes[0].branch
    want = Want(top=min(k, branch.place.vocab), stats=branch.sampling.stats)
    dists = await together.look([node.branch for node in nodes], want)
    return [_possible(dist.top) for dist in dists]


def _possible(top: Likely) -> Likely:
    if top and top[-1][1] > -math.inf:
        return top
    return [(token, logprob) for token, logprob in top if logprob > -math.inf]
