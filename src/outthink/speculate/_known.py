"""Texts that were read before: a branch that goes on from one is read from there on, not twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")
MOST = 4096  # texts remembered


class Known(Generic[Value]):
    """A value for each text that was marked, found again by any text that begins with it; the last `most`."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.marks: dict[int, Value] = {}

    def longest(self, tokens: Sequence[int]) -> tuple[int, Value | None]:
        """(length, value) of the longest marked text that `tokens` begins with; (0, None) for none."""
        found: tuple[int, Value | None] = (0, None)
        if not self.marks:
            return found
        code, marks = 0, self.marks
        for i, token in enumerate(tokens):
            code = hash((code, token))
            if code in marks:
                found = (i + 1, marks[code])
        return found

    def mark(self, tokens: Sequence[int], value: Value) -> None:
        """Remember a value for this text."""
        code = 0
        for token in tokens:
            code = hash((code, token))
        self.marks.pop(code, None)
        self.marks[code] = value
        if len(self.marks) > self.most:
            del self.marks[next(iter(self.marks))]
