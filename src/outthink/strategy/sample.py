"""One sample at a stated temperature."""

from __future__ import annotations

from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy.once import write


@dataclass(frozen=True)
class Sample:
    """Write once: tokens drawn from softmax(logits / temperature)."""

    temperature: float = 0.8

    needs = Can.GENERATE
    remote_safe = True
    streams = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature={self.temperature}: give 0 or more")

    async def __call__(self, root: Branch, /) -> Answer:
        return await write(root, replace(root.sampling, temperature=self.temperature))
