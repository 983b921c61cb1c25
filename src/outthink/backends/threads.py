"""How many threads a pass should use: measured at load, and lowered to one when other work takes the cores.

Two OpenMP threads that wait for each other on a busy machine run many times slower than one. Threads change
the last bits of a product, so the number is part of the receipt, and a change in the middle is said there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

import torch

TRIALS = 4
MARGIN = 0.9  # more threads must save a tenth
JUMP = 6.0  # a pass this much slower than is usual for its size is a sign of trouble
PATIENCE = 5  # so many in a row


def choose(run: Callable[[], object], most: int | None = None) -> int:
    """Time `run` with one thread and with all cores, set torch to the better number, and return it."""
    cores = most or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    best, least = 1, _time(run, 1)
    if cores > 1 and _time(run, cores) < MARGIN * least:
        best = cores
    torch.set_num_threads(best)
    return best


def _time(run: Callable[[], object], threads: int) -> float:
    """The second fastest of a few runs: one lucky run does not decide."""
    torch.set_num_threads(threads)
    run()
    taken = []
    for _ in range(TRIALS):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[1]


def products() -> Callable[[], object]:
    """Work like that of a small pass: 8 rows through some matrices, about 3 ms on one core."""
    x, weight = torch.ones(8, 512), torch.ones(2048, 512)

    def run() -> None:
        for _ in range(16):
            torch.nn.functional.linear(x, weight)

    return run


class Threaded(Protocol):
    """Something with a number of threads."""

    threads: int


def hand_over(model: Threaded) -> None:
    """Give torch's threads to a model that has a pool of its own, and leave torch one.

    What torch does beside such a model is little, but its OpenMP threads spin for milliseconds after it, on
    the cores that the pool needs: passes of 64 rows took twice as long.
    """
    model.threads = torch.get_num_threads()
    torch.set_num_threads(1)


class Watch:
    """Lowers a backend to one thread when passes suddenly become many times slower than they were."""

    def __init__(self, backend: Threaded) -> None:
        self._backend = backend
        self._usual: dict[int, float] = {}  # a running mean per size, so that growing contexts are no jump
        self._slow = 0

    def passed(self, rows: int, seconds: float) -> bool:
        """Hear of a pass; whether the thread count was lowered because of it."""
        size = rows.bit_length()
        usual = self._usual.setdefault(size, seconds)
        if seconds <= JUMP * usual:
            self._usual[size] += (seconds - usual) / 8
            self._slow = 0
            return False
        self._slow += 1
        if self._slow < PATIENCE or self._backend.threads == 1:
            return False
        self._backend.threads = 1
        self._usual.clear()
        self._slow = 0
        return True
