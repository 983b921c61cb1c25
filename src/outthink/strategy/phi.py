"""phi-decoding: steps are sampled by what foresight says of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

from outthink.core.branch import Branch
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Search, futures, softmax
from outthink.strategy._steps import Node, check_counts
from outthink.text import classes


class Foresight(NamedTuple):
    """A step, its future, what the future says of the step, and how many futures agree with it."""

    node: Node
    tip: Node
    gain: float  # how much likelier the future has become: F - F of the parent; 0 for what had ended before
    share: float  # of the futures, those that come to the same answer


def keep_confident(values: Sequence[float], width: float) -> list[int]:
    """Indices of the values that are at least mean - width * standard deviation: never none."""
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return [i for i, value in enumerate(values) if value >= mean - width * spread - 1e-12]


def agreement(finals: Sequence[str | None]) -> list[float]:
    """For each future the share of all whose final answers are equivalent to its own; without one, only its
    own."""
    labels = classes(list(finals))
    sizes = Counter(label for label in labels if label is not None)
    return [(1 if label is None else sizes[label]) / len(labels) for label in labels]


@dataclass(frozen=True)
class Phi:
    """Sample steps from two estimates of their value: how likely their future is, and how many futures agree.

    beam = [root]
    until all in the beam has ended:
        write `expand` next steps of each; in width: drop those whose mean log-probability a token is below
            mean - prune * standard deviation
        write the future of each to its end
        F = mean log-probability a token of step and future;  A = F - F of the parent
        C = share of the futures with an equivalent final answer
        p = (softmax(A / temperature) + softmax(C / temperature)) / 2
        in depth: if some C >= agree, stop: the likeliest future of that class is the answer
        beam = `width` steps drawn from p without replacement
    the answer is the one of these with the highest p

    No verifier. `prune=inf` (as text: 1e9) and `agree` above 1 switch the prunings off. Futures share the
    prefix of their step. Xu et al., "phi-Decoding: Adaptive Foresight Sampling for Balanced Inference-Time
    Exploration and Exploitation", arXiv 2503.13288; where the paper clusters texts, we compare final answers.
    """

    width: int = 2
    expand: int = 4
    prune: float = 1.0
    agree: float = 0.8
    temperature: float = 0.6
    step: str = "\n"
    step_tokens: int = 64

    needs = Can.GENERATE | Can.LOGPROBS
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_counts(self, "width", "expand")
        for name in ("temperature", "agree"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give more than 0")
        if not self.prune >= 0:
            raise ValueError(f"prune={self.prune}: give 0 or more")

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        seen = await self._look(search, {search.root: 0.0})
        for number in count(1):
            shares = self._shares(seen)
            if agreed := [i for i, one in enumerate(seen) if one.share >= self.agree]:
                return self._answer(search, seen, agreed, shares)
            logp = [math.log(share) if share else -math.inf for share in shares]
            k = min(self.width, sum(share > 0 for share in shares))
            drawn = sorted(root.chance("phi").subset(logp, k, index=number))
            if all(seen[i].node.ended for i in drawn):
                return self._answer(search, seen, drawn, shares)
            beam = {seen[i].node: seen[i].tip.score for i in drawn}
            search.drop(one.node for one in seen if one.node not in beam)
            seen = await self._look(search, beam)
        raise AssertionError("every text has a last step")

    async def _look(self, search: Search, beam: dict[Node, float]) -> list[Foresight]:
        """The next steps of a beam, each with its foresight; what has ended stays, and is its own future."""
        plan = [(n, self.expand * (self.width if n is search.root else 1)) for n in beam if not n.ended]
        new = await search.write(plan, merge=False)
        begins = {node: len(node.parent.branch) if node.parent else 0 for node in new}
        keep = keep_confident([_mean(node.branch, begins[node]) for node in new], self.prune)
        search.drop(node for i, node in enumerate(new) if i not in keep)
        new = [new[i] for i in keep]
        search.drop(beam)
        tips = await futures(search, new, most=None)
        for node, tip in zip(new, tips, strict=True):
            tip.score = _mean(tip.branch, begins[node])
        search.welcome(tips)
        gains = [tip.score - beam[node.parent] for node, tip in zip(new, tips, strict=True) if node.parent]
        stay = [node for node in beam if node.ended]
        nodes, ends, gains = [*stay, *new], [*stay, *tips], [*(0.0 for _ in stay), *gains]
        agree = agreement([end.answer().final for end in ends])
        return [Foresight(*one) for one in zip(nodes, ends, gains, agree, strict=True)]

    def _shares(self, seen: Sequence[Foresight]) -> list[float]:
        """p: the mean of two softmaxes."""
        gains = softmax([one.gain for one in seen], self.temperature)
        agreed = softmax([one.share for one in seen], self.temperature)
        return [(a + b) / 2 for a, b in zip(gains, agreed, strict=True)]

    def _answer(
        self, search: Search, seen: Sequence[Foresight], among: Sequence[int], shares: Sequence[float]
    ) -> Answer:
        """The future of the likeliest of these steps; ties to the first."""
        search.report()
        best = max(among, key=lambda i: (shares[i], -i))
        others = tuple(one.tip.answer() for i, one in enumerate(seen) if i != best)
        return replace(seen[best].tip.answer(), others=others)


def _mean(branch: Branch, begin: int) -> float:
    """The mean log-probability of the tokens from `begin` on; 0 for none."""
    logps = [p for p in branch.logps[begin:] if p is not None]
    return math.fsum(logps) / len(logps) if logps else 0.0
