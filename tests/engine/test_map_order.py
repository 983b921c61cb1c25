"""A next request is taken only after the one whose place it gets was handed over."""

from __future__ import annotations

from collections.abc import Iterator

from outthink import strategy
from outthink.backends.toy import toy
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request


def test_whoever_takes_an_answer_has_it_before_the_next_request_is_pulled() -> None:
    pulled, taken = 0, 0

    def requests() -> Iterator[Request]:
        nonlocal pulled
        for seed in range(9):
            pulled += 1
            yield Request(strategy.Once(), "ab", seed=seed, sampling=Sampling(max_tokens=1 + seed % 3))

    for _ in Engine(toy(), slots=400).map(requests(), concurrency=3):
        taken += 1
        assert pulled - taken <= 2  # the one that was just taken has left its place empty
    assert taken == pulled == 9
