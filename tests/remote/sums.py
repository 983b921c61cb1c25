"""An endpoint that answers sums, an engine on it, and what a run must leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from outthink.backends.openai import connect
from outthink.engine.engine import Engine
from outthink.testing.endpoint import Endpoint, Powers, writes


def sums(question: str) -> Mapping[str, float]:
    """Three ways to answer "a + b", one of them wrong; how to count, for the probe."""
    if "+" not in question:
        return {"One, two, three, four.": 0.4, "Well, one and two.": 0.2, "First, one.": 0.2, "So: one.": 0.2}
    a, b = (int("".join(c for c in part if c.isdigit())) for part in question.split("+"))
    right, wrong = a + b, a + b + 1
    return {
        f"{a} + {b} = {right}\nA: {right}\n": 0.5,
        f"The sum of {a} and {b}.\nIt is {right}.\nA: {right}\n": 0.3,
        f"{a} + {b} = {wrong}\nA: {wrong}\n": 0.2,
    }


GOOD = Powers()
Made = Callable[..., tuple[Endpoint, Engine]]


@pytest.fixture
def serve() -> Iterator[Made]:
    """An endpoint with these powers and an engine on it; both end with the test."""
    closing: list[Any] = []

    def made(
        powers: Powers = GOOD, url: str | None = None, per_token: float = 0.0, **options: Any
    ) -> tuple[Endpoint, Engine]:
        endpoint = Endpoint(writes(sums), powers).__enter__()
        closing.append(endpoint)
        engine = Engine(connect(url or endpoint.spec, **options))
        closing.append(engine)
        endpoint.log.clear()
        endpoint.powers = replace(powers, per_token=per_token)
        return endpoint, engine

    yield made
    for one in reversed(closing):
        one.close()


def check_clean(engine: Engine) -> None:
    """No branch, no work, no reservation and no request is left."""
    place: Any = engine.main
    place.tree.check()
    assert not [node for node in place.tree.nodes() if node.cursors], "branches were left open"
    assert not place.works and not place.sent, "work was left"
    assert not engine.limits.line and not engine.desk.held and not engine.runs
    assert not place.backend._calls, "calls were left"
    assert all(e.in_flight == 0 for e in place.backend.fleet.endpoints)
