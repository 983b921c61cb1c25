"""Servers in processes of their own, and the same engine in this one to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from served import Served

import outthink as ot
from outthink.engine.engine import Engine

EXACT = ("--dtype", "float64", "--threads", "1")


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    """One for all tests that do not ask for another. float64, so that company changes no draw."""
    served = Served(*EXACT, "--max-written", "800")
    yield served
    assert served.end() == 0


@pytest.fixture
def start() -> Iterator[Callable[..., Served]]:
    """Start servers with other options."""
    made: list[Served] = []

    def one(*options: str) -> Served:
        made.append(Served(*EXACT, *options))
        return made[-1]

    yield one
    for served in made:
        if served.process.poll() is None:
            served.end()


@pytest.fixture(scope="session")
def here() -> Engine:
    """The model that is served, in this process."""
    return ot.load("pocket", dtype="float64", threads=1)
