"""Searches over tokens: look at the likeliest next tokens, and write chosen ones."""

from __future__ import annotations

from dataclasses import replace

from outthink.core.branch import Branch
from outthink.core.types import Answer, Dist, Want
from outthink.strategy._search import standing
from outthink.strategy._steps import Node, longest, offer_unjudged, read_off, room_on


class Tokens:
    """Writes one chosen token at a time below `root`, as far as the run's sampling lets a text go.

    Choices are made on the model's own log-probabilities: temperature, truncation and warps are not used.
    """

    def __init__(self, root: Branch) -> None:
        self.limit = longest(root)

    async def write(self, parent: Node, branch: Branch, token: int) -> Node:
        """Write one of the `likeliest` tokens after the parent; the node has its log-probability."""
        assert parent.branch.dist is not None
        finish = await branch.choose(token, parent.branch.dist)
        ended = "eos" if finish.reason == "eos" else "stop" if token in branch.sampling.stop_tokens else ""
        ended = ended or ("" if room_on(branch, self.limit) >= 1 else "length")
        node = Node(branch, *read_off(branch, ended), logprob=finish.logprob, parent=parent)
        offer_unjudged(node)
        return node

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
    rank, cost, path = standing(node)
    return (rank, -len(node.branch) if rank == 2 else cost, path)


async def likeliest(node: Node, k: int) -> list[tuple[int, float]]:
    """The k likeliest next tokens with their log-probabilities; fewer if fewer are possible."""
    branch = node.branch
    dist: Dist = await branch.look(Want(top=min(k, branch.place.vocab), stats=branch.sampling.stats))
    return [(token, logprob) for token, logprob in dist.top if logprob > -float("inf")]
