"""Beam search over steps."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Search, beam_search
from outthink.strategy._steps import check_counts


@dataclass(frozen=True)
class Beam:
    """Keep the `width` best partial solutions, write `width * expand` next steps of them, judge, and repeat.

    beam = [root]
    while something in the beam has not ended:
        children = width * expand samples, shared evenly among the unfinished nodes
        beam = the `width` best of children and ended nodes

    Every round has all its samples, however many nodes have ended or become one. An ended solution stays with
    its score and is not written on; equal texts below one parent are one; equal scores go by branch path. The
    answer is the best that ever ended, in the beam or not. A step is text up to and with `step`, cut at
    `step_tokens` tokens. Snell et al., "Scaling LLM Test-Time Compute Optimally can be More Effective than
    Scaling Model Parameters", arXiv 2408.03314.
    """

    verifier: Verifier
    width: int = 4
    expand: int = 4
    step: str = "\n"
    step_tokens: int = 64

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_counts(self, "width", "expand")

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        with search.within():
            await beam_search(search, self.width, self.expand)
        return await search.conclude()
