"""When two answers are the same: keys where they decide, algebra where they do not."""

from __future__ import annotations

from collections.abc import Sequence

from outthink.text.algebra import same
from outthink.text.parse import Value, parse

MAX_ALGEBRA = 300  # characters of an expression that is given to algebra
MAX_COMPARISONS = 5000  # by algebra, in one call
UNDECIDED_COST = 1500  # comparisons: one that ran out of time takes that much longer


class _Comparer:
    """Compares values; stops asking algebra after MAX_COMPARISONS, so that a call ends."""

    def __init__(self) -> None:
        self._left = MAX_COMPARISONS

    def equal(self, a: Value, b: Value) -> bool:
        if a.is_decided and b.is_decided:
            return a.key == b.key
        if a.items or b.items:
            return a.kind == b.kind and a.mark == b.mark and self._items_equal(a, b)
        if {a.kind, b.kind} <= {"expression", "number"}:
            return self._algebra(_latex(a), _latex(b))
        return False

    def _items_equal(self, a: Value, b: Value) -> bool:
        if a.kind == "tuple":
            return len(a.items) == len(b.items) and all(map(self.equal, a.items, b.items))
        return self._covers(a, b) and self._covers(b, a)

    def _covers(self, a: Value, b: Value) -> bool:
        return all(any(self.equal(x, y) for y in b.items) for x in a.items)

    def _algebra(self, a: str, b: str) -> bool:
        if a == b:
            return True
        if max(len(a), len(b)) > MAX_ALGEBRA or self._left <= 0:
            return False
        verdict = same(a, b)
        self._left -= 1 if verdict is not None else UNDECIDED_COST
        return bool(verdict)


def _latex(value: Value) -> str:
    if value.kind != "number":
        return value.mark.replace("∞", r"\infty ")
    n = value.number
    return str(n) if n.denominator == 1 else rf"\frac{{{n.numerator}}}{{{n.denominator}}}"


def equivalent(a: str | None, b: str | None) -> bool:
    r"""Whether two answers say the same: equivalent(r"\frac{3}{4}", "0.75"). No answer equals nothing.

    An equivalence relation on valid answers, as far as algebra goes: what it cannot decide in time differs.
    """
    if a is None or b is None:
        return False
    x, y = parse(a), parse(b)
    return x is not None and y is not None and (x == y or _Comparer().equal(x, y))


def canonical(answer: str | None) -> str | None:
    """One key for all spellings of an answer; None for no answer, and where only algebra could tell."""
    value = parse(answer) if answer is not None else None
    return value.key if value is not None and value.is_decided else None


def classes(answers: Sequence[str | None]) -> list[int | None]:
    """The class of each answer, numbered as they first come; None for no answer.

    Permuted answers have the same classes under other numbers.
    """
    comparer = _Comparer()
    firsts: list[Value] = []
    known: dict[Value, int] = {}
    labels: dict[str | None, int | None] = {None: None}  # by spelling: a vote has few of them
    for answer in answers:
        if answer is None or answer in labels:
            continue
        value = parse(answer)
        if value is not None and value not in known:
            equal = (index for index, first in enumerate(firsts) if comparer.equal(first, value))
            known[value] = next(equal, len(firsts))
            if known[value] == len(firsts):
                firsts.append(value)
        labels[answer] = None if value is None else known[value]
    return [labels[answer] for answer in answers]
