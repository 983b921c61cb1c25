"""What the task families share: draws that never change, the split, parsing of lines."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from outthink.core.problem import Problem, Secret, Task

SPLITS = ("train", "test")
TEST_SHARE = 32  # of 256: one problem in eight belongs to the test split
LONGEST_LINE = 400  # characters of a line that a checker reads; a longer one is wrong

T = TypeVar("T")


def digest(*parts: object) -> bytes:
    """SHA-256 of the parts joined by `/`."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()


class Draw:
    """Seeded draws built on `Random.random()` alone, whose sequence Python promises to keep."""

    def __init__(self, *seed: object) -> None:
        self._random = random.Random(int.from_bytes(digest(*seed)[:8], "big"))

    def below(self, n: int) -> int:
        """A whole number in 0 .. n-1."""
        return int(self._random.random() * n)

    def between(self, low: int, high: int) -> int:
        """A whole number in low .. high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self._random.random() < p

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """k different positions of items, in random order (Fisher-Yates)."""
        pool = list(items)
        for i in range(k):
            j = i + self.below(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in random order."""
        return self.sample(items, len(items))


@dataclass(frozen=True)
class Draft:
    """A problem before it has a place: what is asked, its answer, and the form that decides its split."""

    prompt: str
    answer: str
    lines: Sequence[str]  # the worked solution without its `A:` line
    canonical: str  # equal for problems that are the same but for wording or order
    data: Mapping[str, Any] = field(default_factory=dict)


def split_of(family: str, canonical: str) -> str:
    """The split a canonical form belongs to, decided by its hash alone, so that no two splits share one."""
    return "test" if digest(family, canonical)[0] < TEST_SHARE else "train"


def need_level(level: int, levels: range) -> None:
    """Refuse a level outside 0 (mixed) and 1 .. N."""
    if isinstance(level, bool) or not isinstance(level, int) or (level != 0 and level not in levels):
        raise ValueError(f"level must be {levels[0]}..{levels[-1]}, or 0 for all mixed; got {level!r}")


def need_place(split: str, index: int) -> None:
    """Refuse an unknown split or a bad index."""
    if split not in SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise ValueError(f"index must be a whole number from 0 up, got {index!r}")


Drafter = Callable[[Draw, int], Draft | None]


def first_draft(task: Task, split: str, index: int, level: int, drafter: Drafter) -> Draft:
    """The first draft (seeded by family, seed, level, split, index, attempt) that belongs to the split."""
    seed, attempt = getattr(task, "seed", 0), 0
    while True:
        made = drafter(Draw(task.name, seed, level, split, index, attempt), level)
        if made is not None and split_of(task.name, made.canonical) == split:
            return made
        attempt += 1


def make(task: Task, level: int, split: str, index: int, drafter: Drafter) -> Problem:
    """Problem number `index` of `split`; level 0 draws a level for each problem."""
    need_place(split, index)
    levels: range = getattr(task, "levels", range(1, 2))
    seed = getattr(task, "seed", 0)
    actual = level or levels[Draw(task.name, seed, "level", split, index).below(len(levels))]
    made = first_draft(task, split, index, actual, drafter)
    solution = "\n".join([*made.lines, f"A: {made.answer}"])
    secret = Secret(reference=made.answer, solution=solution, data=made.data)
    tag = f"{task.name}/{level}/{split}/{index}"
    return Problem(prompt=made.prompt, id=tag, level=actual, task=task, secret=secret)


def answer_of(line: str) -> str | None:
    """The text after `A:` if the line is an answer line, else None."""
    text = line.strip()
    return text[2:].strip() if text.startswith("A:") else None


def whole(text: str | None) -> int | None:
    """A plain whole number of at most 15 digits (ASCII; thousands commas and a final stop allowed)."""
    if text is None or len(text) > LONGEST_LINE:
        return None
    plain = text.strip().removesuffix(".").replace(",", "")
    return int(plain) if re.fullmatch(r"-?[0-9]{1,15}", plain) else None
