"""The number of threads is measured, and lowered when passes jump."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from outthink.backends.threads import PATIENCE, Watch, choose, hand_over


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Counted:
    """Something with two threads."""

    threads = 2


def test_a_model_with_a_pool_takes_torchs_threads() -> None:
    torch.set_num_threads(3)
    model = Counted()
    hand_over(model)
    assert model.threads == 3 and torch.get_num_threads() == 1


@pytest.mark.parametrize(("gain", "expected"), [(0.5, 4), (0.97, 1), (3.0, 1)])
def test_more_threads_must_pay(gain: float, expected: int) -> None:
    def run() -> None:
        time.sleep(0.02 * (gain if torch.get_num_threads() > 1 else 1.0))

    assert choose(run, most=4) == expected == torch.get_num_threads()


def test_a_jump_lowers_the_threads_once() -> None:
    backend = Counted()
    watch = Watch(backend)
    assert not any(watch.passed(8, 0.001) for _ in range(20))
    heard = [watch.passed(8, 0.05) for _ in range(PATIENCE + 3)]
    assert heard.count(True) == 1 and heard.index(True) == PATIENCE - 1
    assert backend.threads == 1


def test_one_slow_pass_and_growing_contexts_are_no_jump() -> None:
    backend = Counted()
    watch = Watch(backend)
    seconds = 0.001
    for i in range(300):
        seconds *= 1.03
        assert not watch.passed(8, seconds * (20 if i % 50 == 49 else 1))
    assert backend.threads == 2
