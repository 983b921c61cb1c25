"""One sample with the run's own sampling: what every other strategy is made of."""

from __future__ import annotations

from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.types import Answer, Can, Sampling
from outthink.spec import show
from outthink.text import final_answer


def read_off(branch: Branch, reason: str = "") -> Answer:
    """What is written on a branch, as an answer: the text, the final answer in it, tokens, log-probability,
    statistics. `reason` says how the text ended. Nothing (a stop that came first is cut off) has the
    log-probability 0."""
    known = [p for p in branch.logps if p is not None]
    text = branch.text()
    return Answer(
        text,
        final_answer(text).value,
        finish=reason,
        tokens=len(branch),
        logprob=sum(known) if known or not len(branch) else None,
        stats={name: tuple(values) for name, values in branch.stats.items()},
        branch=branch,
    )


async def write(branch: Branch, sampling: Sampling) -> Answer:
    """Write to the end on a branch, and read the answer off."""
    finish = await branch.generate(sampling)
    return read_off(branch, finish.reason)


@dataclass(frozen=True)
class Once:
    """Write once, as the run's sampling says."""

    needs = Can.GENERATE
    remote_safe = True
    streams = True
    __repr__ = show

    async def __call__(self, root: Branch, /) -> Answer:
        return await write(root, root.sampling)
