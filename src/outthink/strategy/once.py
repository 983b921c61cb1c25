"""One sample with the run's own sampling: what every other strategy is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.types import Answer
from outthink.text import final_answer


@dataclass(frozen=True)
class Once:
    """Write once, as the run's sampling says."""

    temperature: float | None = None  # None: the run's

    async def __call__(self, root: Branch, /) -> Answer:
        sampling = root.sampling
        if self.temperature is not None:
            sampling = replace(sampling, temperature=self.temperature)
        finish = await root.generate(sampling)
        text = root.text()
        return Answer(text, final_answer(text).value, finish=finish.reason, tokens=len(root), branch=root)
