"""The likeliest token at every step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy.once import write


@dataclass(frozen=True)
class Greedy:
    """Write once at temperature 0: argmax of the warped logits at every step."""

    needs = Can.GENERATE
    remote_safe = True
    streams = True
    __repr__ = show

    async def __call__(self, root: Branch, /) -> Answer:
        return await write(root, replace(root.sampling, temperature=0.0))
