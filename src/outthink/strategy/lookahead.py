"""Beam search whose steps are judged by where they lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Search, beam_search, foresee
from outthink.strategy._steps import Node, check_counts


@dataclass(frozen=True)
class Lookahead:
    """Beam search over steps; each new step is judged after k further steps, written greedily on a fork.

    score(node) = verifier(node + k steps at temperature 0)

    The further steps are thrown away, but what ended among them is an answer. With k=0 it is `beam`. Snell et
    al., "Scaling LLM Test-Time Compute Optimally can be More Effective than Scaling Model Parameters", arXiv
    2408.03314.
    """

    verifier: Verifier
    width: int = 4
    expand: int = 4
    k: int = 1
    step: str = "\n"
    step_tokens: int = 64

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_counts(self, "width", "expand")
        if self.k < 0:
            raise ValueError(f"k={self.k}: give 0 or more steps")

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)

        async def value(nodes: Sequence[Node]) -> list[float]:
            return await foresee(search, nodes, self.k, temperature=0.0)

        search.value = value
        with search.within():
            await beam_search(search, self.width, self.expand)
        return await search.conclude()
