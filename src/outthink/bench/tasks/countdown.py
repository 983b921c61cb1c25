"""Reach a target from given numbers with + - * /, each number used exactly once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from outthink.bench.tasks._common import LONGEST_LINE, Draft, Draw, answer_of, make, need_level
from outthink.core.problem import Problem

SIZES = (  # level -> (how many numbers, largest number, largest target)
    (3, 9, 99),
    (3, 20, 199),
    (3, 50, 299),
    (4, 9, 99),
    (4, 20, 199),
    (4, 50, 499),
    (5, 20, 499),
    (6, 50, 999),
)
LARGEST = 10**9  # no result beyond this: keeps hostile expressions cheap
TOKEN = re.compile(r"\s*([0-9]{1,9}|[-+*/()])")
LINE = re.compile(r"\s*([0-9]{1,9}) ([-+*/]) ([0-9]{1,9}) = ([0-9]{1,9}) left((?: [0-9]{1,9})+)\s*")
Pool = tuple[int, ...]


def combine(a: int, op: str, b: int) -> int | None:
    """a op b if that is a whole number from 0 to LARGEST, else None."""
    if op == "/":
        return a // b if b and a % b == 0 else None
    value = a + b if op == "+" else a - b if op == "-" else a * b
    return value if 0 <= value <= LARGEST else None


def without(pool: Sequence[int], *used: int) -> list[int] | None:
    """The pool less the used numbers, or None if one of them is not there often enough."""
    rest = list(pool)
    for number in used:
        if number not in rest:
            return None
        rest.remove(number)
    return rest


def results(a: int, b: int) -> Iterator[int]:
    """What two numbers, the larger first, can make."""
    for op in "+-*/":
        value = combine(a, op, b)
        if value is not None:
            yield value


@lru_cache(maxsize=200_000)
def reachable(pool: Pool, target: int) -> bool:
    """Whether the sorted pool, all of it, can make the target (exhaustive search with memory)."""
    if len(pool) == 1:
        return pool[0] == target
    for j in range(1, len(pool)):
        for i in range(j):
            rest = pool[:i] + pool[i + 1 : j] + pool[j + 1 :]
            for value in results(pool[j], pool[i]):
                if reachable(tuple(sorted((*rest, value))), target):
                    return True
    return False


class Reader:
    """Recursive-descent reader of `+ - * / ( )` over whole numbers; notes the numbers used."""

    def __init__(self, text: str) -> None:
        self.tokens = self._split(text)
        self.used: list[int] = []

    @staticmethod
    def _split(text: str) -> list[str]:
        """Tokens, last first; ValueError for anything else in the text."""
        tokens, at, text = [], 0, text.strip()
        while at < len(text):
            match = TOKEN.match(text, at)
            if match is None:
                raise ValueError("not an expression")
            tokens.append(match[1])
            at = match.end()
        return tokens[::-1]

    def value(self) -> int:
        """The value of the whole text; ValueError if it is no expression or breaks the rules."""
        total = self._sum(0)
        if self.tokens:
            raise ValueError("something is left over")
        return total

    def _peek(self) -> str:
        return self.tokens[-1] if self.tokens else ""

    def _apply(self, a: int, op: str, b: int) -> int:
        result = combine(a, op, b)
        if result is None:
            raise ValueError("a result is negative, broken or too large")
        return result

    def _sum(self, depth: int) -> int:
        total = self._product(depth)
        while self._peek() in ("+", "-"):
            total = self._apply(total, self.tokens.pop(), self._product(depth))
        return total

    def _product(self, depth: int) -> int:
        total = self._atom(depth)
        while self._peek() in ("*", "/"):
            total = self._apply(total, self.tokens.pop(), self._atom(depth))
        return total

    def _atom(self, depth: int) -> int:
        token = self._peek()
        if token.isdigit():
            self.used.append(int(self.tokens.pop()))
            return self.used[-1]
        if token != "(" or depth > 40:
            raise ValueError("a number or a bracket was expected")
        self.tokens.pop()
        total = self._sum(depth + 1)
        if self._peek() != ")":
            raise ValueError("a bracket is not closed")
        self.tokens.pop()
        return total


def options(a: int, b: int, top: int) -> list[tuple[str, int]]:
    """Operations for a >= b that keep a drawn problem tidy: no zero, no times 1, one factor below 10."""
    found = [("+", a + b)]
    if a > b:
        found.append(("-", a - b))
    if 1 < b < 10:
        found.append(("*", a * b))
    if b > 1 and a % b == 0:
        found.append(("/", a // b))
    return [(op, value) for op, value in found if value <= top]


def draft(draw: Draw, level: int) -> Draft | None:
    """Numbers combined at random until one is left: that one is the target."""
    how_many, largest, top = SIZES[level - 1]
    given = [draw.between(1, largest) for _ in range(how_many)]
    pool = [(number, str(number)) for number in given]
    lines = []
    while len(pool) > 1:
        i, j = sorted(draw.sample(range(len(pool)), 2), key=lambda k: -pool[k][0])
        (a, left), (b, right) = pool[i], pool[j]
        choices = options(a, b, top)
        if not choices:
            return None
        op, value = draw.pick(choices)
        rest = [item for k, item in enumerate(pool) if k not in (i, j)]
        pool = [(value, f"({left} {op} {right})"), *rest]
        lines.append(f"{a} {op} {b} = {value} left {' '.join(str(number) for number, _ in pool)}")
    target, expression = pool[0]
    numbers = " ".join(map(str, given))
    prompt = (
        f"Make {target} from {numbers}. Use each number exactly once; every result a whole number, 0 or more."
    )
    canonical = f"{target} {sorted(given)}"
    return Draft(prompt, expression[1:-1], lines, canonical, {"numbers": tuple(given), "target": target})


@dataclass(frozen=True)
class Countdown:
    """Numbers to a target; any valid expression counts."""

    level: int = 3
    seed: int = 0

    name = "countdown"
    statement = (
        "Reach a target from given numbers with + - * /, using each number exactly once and keeping every "
        "result a whole number of 0 or more. Each step combines two of the numbers that are left."
    )
    levels = range(1, len(SIZES) + 1)

    def __post_init__(self) -> None:
        need_level(self.level, self.levels)

    def problem(self, split: str, index: int) -> Problem:
        """Problem number `index` of `split`."""
        return make(self, self.level, split, index, draft)

    def check(self, problem: Problem, final: str | None) -> bool:
        """Whether the expression is exactly the target and uses each given number exactly once."""
        if final is None or len(final) > LONGEST_LINE:
            return False
        try:
            reader = Reader(final.strip().removesuffix("."))
            value = reader.value()
        except ValueError:
            return False
        data = problem.secret.data
        return bool(value == data["target"] and sorted(reader.used) == sorted(data["numbers"]))

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        """A line (`a op b = c left ...`) is right if a and b are left, a op b is c, a whole number of 0 or
        more, the numbers left (any order) are stated truly, and the target can still be reached from them
        (exhaustive search). A line that breaks a rule changes nothing; one that only rules the target out
        does, so that all lines after it are wrong too."""
        pool = list(problem.secret.data["numbers"])
        return [self._judge(problem, line, pool) for line in steps]

    def _judge(self, problem: Problem, line: str, pool: list[int]) -> bool:
        """One line; a legal one changes the pool."""
        answer = answer_of(line)
        if answer is not None:
            return self.check(problem, answer)
        match = LINE.fullmatch(line) if len(line) <= LONGEST_LINE else None
        if match is None:
            return False
        a, b, c = int(match[1]), int(match[3]), int(match[4])
        rest = without(pool, a, b)
        left = sorted(map(int, match[5].split()))
        if rest is None or combine(a, match[2], b) != c or left != sorted([*rest, c]):
            return False
        pool[:] = left
        return reachable(tuple(left), int(problem.secret.data["target"]))
