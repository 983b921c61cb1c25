"""Carry out a list of operations on a list of items, the list after each operation on its own line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from outthink.bench.tasks._common import LONGEST_LINE, Draft, Draw, answer_of, make, need_level
from outthink.core.problem import Problem

SIZES = ((3, 2), (4, 3), (4, 5), (5, 6), (6, 7), (7, 8), (8, 10), (10, 12))  # level -> (items, operations)
LONGEST_LIST = 12
KINDS: tuple[tuple[str, ...], ...] = (
    tuple("abcdefghijklmnopqrstuvwxyz"),
    tuple(
        "ant bee cat dog elk fox hen jay owl pig ram yak apple bread candy dates grape honey lemon mango "
        "olive peach sugar tea".split()
    ),
    tuple("0123456789"),
)
Items = list[str]


def swap(draw: Draw, items: Items) -> str:
    """`swap i j`: exchange two places."""
    i, j = sorted(draw.sample(range(1, len(items) + 1), 2))
    return f"swap {i} {j}"


def rotate(draw: Draw, items: Items) -> str:
    """`rotate left k` or `rotate right k`."""
    return f"rotate {draw.pick(('left', 'right'))} {draw.between(1, min(3, len(items) - 1))}"


def drop(draw: Draw, items: Items) -> str:
    """`drop i`: take an item out (a list keeps at least three)."""
    return f"drop {draw.between(1, len(items))}" if len(items) > 3 else "reverse"


def double(draw: Draw, items: Items) -> str:
    """`double i`: a second copy right after the item."""
    return f"double {draw.between(1, len(items))}" if len(items) < LONGEST_LIST else "reverse"


def insert(draw: Draw, items: Items) -> str:
    """`insert x at i`: x becomes item number i."""
    if len(items) >= LONGEST_LIST:
        return "sort"
    return f"insert {draw.pick(kind_of(items))} at {draw.between(1, len(items) + 1)}"


def replace(draw: Draw, items: Items) -> str:
    """`replace x by y`: every x becomes y."""
    return f"replace {draw.pick(items)} by {draw.pick(kind_of(items))}"


MAKERS: tuple[Callable[[Draw, Items], str], ...] = (swap, rotate, drop, double, insert, replace)


def kind_of(items: Items) -> tuple[str, ...]:
    """The kind (letters, digits, words) that the items belong to."""
    return next(kind for kind in KINDS if items[0] in kind)


def make_operation(draw: Draw, items: Items) -> str:
    """One operation in words; reversing and sorting come up less often than the others."""
    plain = draw.below(10)
    return ("reverse", "sort")[plain] if plain < 2 else draw.pick(MAKERS)(draw, items)


def turned(items: Items, k: int) -> Items:
    """Rotated left by k."""
    return items[k:] + items[:k]


def apply(operation: str, items: Items) -> Items:
    """The list after one operation."""
    verb, *words = operation.split()
    out = list(items)
    match verb:
        case "reverse":
            out.reverse()
        case "sort":
            out.sort()
        case "swap":
            i, j = (int(word) - 1 for word in words)
            out[i], out[j] = out[j], out[i]
        case "rotate":
            out = turned(out, int(words[1]) if words[0] == "left" else len(out) - int(words[1]))
        case "drop":
            del out[int(words[0]) - 1]
        case "double":
            out.insert(int(words[0]), out[int(words[0]) - 1])
        case "insert":
            out.insert(int(words[2]) - 1, words[0])
        case "replace":
            out = [words[2] if item == words[0] else item for item in out]
        case _:
            raise ValueError(f"no such operation: {operation!r}")
    return out


def draft(draw: Draw, level: int) -> Draft:
    """A list, operations in order, and the list after each."""
    size, number = SIZES[level - 1]
    first = draw.sample(draw.pick(KINDS if level > 4 else KINDS[:2]), size)
    states, operations = [first], []
    for _ in range(number):
        operations.append(make_operation(draw, states[-1]))
        states.append(apply(operations[-1], states[-1]))
    listed = ", ".join(f"{i}) {operation}" for i, operation in enumerate(operations, 1))
    prompt = f"List: {' '.join(first)}. Do in order: {listed}. Give the list after each."
    lines = [f"{i + 1}) {operations[i]}: {' '.join(states[i + 1])}" for i in range(number)]
    canonical = " ".join(first) + ": " + ", ".join(operations)
    data = {"operations": tuple(operations), "states": tuple(map(tuple, states[1:]))}
    return Draft(prompt, " ".join(states[-1]), lines, canonical, data)


@dataclass(frozen=True)
class Procedures:
    """Operations on a list of letters, digits or words."""

    level: int = 4
    seed: int = 0

    name = "procedures"
    statement = (
        "Carry out operations (reverse, swap, rotate, drop, double, insert, replace, sort) on a list. "
        "Each step shows the list after one operation; the answer is the final list."
    )
    levels = range(1, len(SIZES) + 1)

    def __post_init__(self) -> None:
        need_level(self.level, self.levels)

    def problem(self, split: str, index: int) -> Problem:
        """Problem number `index` of `split`."""
        return make(self, self.level, split, index, draft)

    def check(self, problem: Problem, final: str | None) -> bool:
        """Whether `final` is the final list, item by item (commas and a final stop do not matter)."""
        if final is None or len(final) > LONGEST_LINE:
            return False
        return final.strip().removesuffix(".").replace(",", " ").split() == problem.secret.reference.split()

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        """Line i (`i) operation: list`) is right if it names operation i and shows the true list after it;
        the number and the operation may be left out. Lines after a wrong one are judged against the truth."""
        return [self._judge(problem, number, line) for number, line in enumerate(steps)]

    def _judge(self, problem: Problem, number: int, line: str) -> bool:
        """The line at position `number`."""
        answer = answer_of(line)
        if answer is not None:
            return self.check(problem, answer)
        data = problem.secret.data
        if number >= len(data["operations"]) or len(line) > LONGEST_LINE:
            return False
        head, _, items = line.rpartition(":")
        label = re.sub(r"^\s*[0-9]+\)", "", head).split()
        given = re.match(r"\s*([0-9]+)\)", head)
        right_number = given is None or given[1] == str(number + 1)
        right_label = not label or label == data["operations"][number].split()
        return right_number and right_label and tuple(items.split()) == data["states"][number]
