"""MITS: step search scored by what the question adds to a step's probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core import together
from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can, Want
from outthink.spec import show
from outthink.strategy._search import Search, allot, ranked, standing, weighted
from outthink.strategy._steps import Node, check_counts

ENTROPY = Want(stats=("entropy",))


@dataclass(frozen=True)
class Mits:
    """Beam search by pointwise mutual information between question and path; more samples where it is open.

    PMI(q; s_1 .. s_t) = log p(s_1 .. s_t | q) - log p(s_1 .. s_t | blank)

    beam = [root]
    while something in the beam has not ended:
        width * expand samples are allotted to the unfinished, one each and the rest in proportion to the
            entropy of their next token (largest remainder)
        beam = the `width` of children and ended nodes with the highest PMI
    answer = vote over all that ended, each weighing exp(PMI a token - the highest)

    No verifier. `blank` is the prompt that stands for no question; its log-probabilities are read, not
    written. "MITS: Enhanced Tree Search Reasoning for LLMs via Pointwise Mutual Information"; the
    weights of the vote are ours.
    """

    width: int = 4
    expand: int = 4
    blank: str = ""
    step: str = "\n"
    step_tokens: int = 64

    needs = Can.GENERATE | Can.SCORE | Can.STATS
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_counts(self, "width", "expand")

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        search.root.score = 0.0
        priors = {search.root: await self._blank(root)}

        async def value(nodes: Sequence[Node]) -> list[float]:
            return await _pmi(nodes, priors)

        search.value = value
        beam = [search.root]
        with search.within():
            while live := [node for node in beam if not node.ended]:
                children = await search.grow(zip(live, await self._samples(live), strict=True))
                pool = [*(node for node in beam if node.ended), *children]
                beam = ranked(pool)[: self.width]
                search.drop([*live, *(node for node in pool if node not in beam)])
        await search.conclude()
        return self._vote(search.ended)

    async def _blank(self, root: Branch) -> Branch:
        """A branch below the prompt that asks nothing."""
        tokens = root.place.tokenizer.chat([{"role": "user", "content": self.blank}])
        if not tokens:
            raise BadInput("mits() needs a prompt that asks nothing; this model's is empty: give blank='...'")
        return await root.open(tokens)

    async def _samples(self, live: Sequence[Node]) -> list[int]:
        """How many samples each node gets."""
        dists = await together.look([node.branch for node in live], ENTROPY)
        entropies = [max(0.0, dist.stats["entropy"]) for dist in dists]
        total = math.fsum(entropies)
        shares = [h / total if total else 1 / len(live) for h in entropies]
        return [1 + more for more in allot(shares, self.width * self.expand - len(live))]

    def _vote(self, ended: Sequence[Node]) -> Answer:
        """The heaviest class of what is complete (of all that ended, if nothing is)."""
        order = sorted(ended, key=standing)
        pool = [node for node in order if node.is_complete] or order
        means = [node.score / max(1, len(node.branch)) for node in pool]
        top = max(means)
        weights = [1.0 if mean == top else math.exp(mean - top) for mean in means]  # top may be infinite
        return weighted([n.answer() for n in pool], weights, self)


async def _pmi(nodes: Sequence[Node], priors: dict[Node, Branch]) -> list[float]:
    """The PMI of each path: its parent's, and what its last step adds; keeps the branches below `blank`."""

    async def read(node: Node, branch: Branch, begin: int) -> float:
        rows = await branch.extend(node.branch.tokens[begin:], Want())
        priors[node] = branch
        return rows.logprob

    jobs = []
    for node in nodes:
        assert node.parent is not None
        jobs.append(read(node, priors[node.parent].fork()[0], len(node.parent.branch)))
    blind = await gather(*jobs)
    before = [node.parent.score if node.parent else 0.0 for node in nodes]
    return [b + node.logprob - p for b, node, p in zip(before, nodes, blind, strict=True)]
