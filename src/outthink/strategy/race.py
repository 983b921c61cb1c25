"""Several strategies side by side: the first to end wins."""

from __future__ import annotations

from dataclasses import dataclass, field

from outthink.core import tasks
from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy.greedy import Greedy
from outthink.strategy.once import Once


@dataclass(frozen=True)
class Race:
    """Start every strategy on a branch of its own; the first to end wins, the others are killed.

    answer = that of argmin over i of (tokens written by strategy i, i): time is tokens, so the schedule
    cannot change the winner. What a killed contestant is charged is exact where it writes one text at a time;
    one that writes several at once (a vote) is charged for what its batch had let it write.
    """

    strategies: tuple[Strategy, ...] = field(default_factory=lambda: (Greedy(), Once()))

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if not self.strategies:
            raise ValueError("strategies=(): give at least one")

    async def __call__(self, root: Branch, /) -> Answer:
        async def one(strategy: Strategy, branch: Branch) -> Answer:
            answer = await strategy(branch)
            root.offer(answer, rank=-answer.tokens)
            return answer

        branches = root.fork(len(self.strategies))
        [answer] = await tasks.race(*map(one, self.strategies, branches))
        first: Answer = answer
        return first
