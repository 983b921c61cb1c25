"""Rivals take turns at the same work; what counts is tokens written over seconds."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from benchmarks.prompts import Prompt

Todo = TypeVar("Todo", contravariant=True)


@dataclass(frozen=True)
class Work:
    """Write on `branches` branches of a prompt, `new` tokens each, or to the end of text if `stops`."""

    prompt: Prompt
    branches: int
    new: int
    greedy: bool = False
    stops: bool = False
    seed: int = 0


class Rival(Protocol[Todo]):
    """One way to do the work."""

    name: str

    def write(self, work: Todo) -> int:
        """Do the work, prompt included; how many tokens were written. Raises if it did less than asked."""
        ...


@dataclass
class Score:
    """What one rival did in every round."""

    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # processor seconds, of all threads

    @property
    def rate(self) -> float:
        """Total tokens over total seconds."""
        return sum(self.tokens) / sum(self.seconds)

    def add(self, other: Score) -> None:
        """Rounds that were done later."""
        self.tokens += other.tokens
        self.seconds += other.seconds
        self.busy += other.busy

    @classmethod
    def least(cls, scores: Sequence[Score]) -> Score:
        """Of several that did the same, what each round took at the least: noise only makes it longer."""
        seconds = [min(each) for each in zip(*(score.seconds for score in scores), strict=True)]
        busy = [min(each) for each in zip(*(score.busy for score in scores), strict=True)]
        return cls(list(scores[0].tokens), seconds, busy)

    @property
    def rates(self) -> list[float]:
        return [t / s for t, s in zip(self.tokens, self.seconds, strict=True)]


@dataclass(frozen=True)
class Ratio:
    """How much faster one is than another: the median over rounds, and the worst and best round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: Score, theirs: Score) -> Ratio:
        """Round by round."""
        each = [a / b for a, b in zip(ours.rates, theirs.rates, strict=True)]
        return cls(statistics.median(each), min(each), max(each))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def contest(
    rivals: Sequence[Rival[Any]],
    rounds: int,
    work: Callable[[int], Any],
    seconds: float = float("inf"),
    is_tidy: bool = False,
) -> dict[str, Score]:
    """Every round is new work for all; each round another begins. One round before them is not counted.

    Once `seconds` are over no round is begun, but two are counted if asked for. A rival may `linger`: so many
    seconds after its turn its threads still wait busily, and nobody begins. With `is_tidy` the order is
    another one in every round, and nobody sweeps up another's garbage.
    """
    scores = {rival.name: Score() for rival in rivals}
    over = time.perf_counter() + seconds
    for turn in range(rounds + 1):
        if turn > 2 and time.perf_counter() > over:
            break
        todo = work(turn)
        order = [rivals[(turn + shift) % len(rivals)] for shift in range(len(rivals))]
        if is_tidy:
            random.Random(turn).shuffle(order)
        for rival in order:
            if is_tidy:
                gc.collect()
            began, busy = time.perf_counter(), time.process_time()
            written = rival.write(todo)
            busy, taken = time.process_time() - busy, time.perf_counter() - began
            time.sleep(getattr(rival, "linger", 0.0))
            if turn:
                scores[rival.name].tokens.append(written)
                scores[rival.name].seconds.append(taken)
                scores[rival.name].busy.append(busy)
    return scores
