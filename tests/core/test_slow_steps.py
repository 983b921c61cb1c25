"""A step that holds the loop is reported; one that only waits for a busy machine is not."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.types import Answer, Want
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace


class Warnings(Trace):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warned(self, message: str) -> None:
        self.said.append(message)


def work(seconds: float) -> None:
    """Take so much of the processor's time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


class Holding:
    def __init__(self, hold: Callable[[float], None], seconds: float) -> None:
        self.hold, self.seconds = hold, seconds

    async def __call__(self, root: Branch, /) -> Answer:
        for _ in range(3):
            await root.look(Want(top=1))
        self.hold(self.seconds)
        return Answer("")


@pytest.mark.parametrize(
    ("hold", "seconds", "is_told"),
    [(work, 0.15, True), (work, 0.0, False), (time.sleep, 0.1, False), (time.sleep, 0.6, True)],
)
def test_long_steps_are_told(hold: Callable[[float], None], seconds: float, is_told: bool) -> None:
    heard = Warnings()
    Engine(toy(hashed(4, scale=1.0, seed=1), 4, context=16), slots=64, trace=heard).run(
        Request(Holding(hold, seconds), "ab")
    )
    assert [message.startswith("a strategy held the loop") for message in heard.said] == [True] * is_told
