"""The exact value of plain arithmetic such as `((5 * 4) - 1) + 8`: a small parser, never `eval`.

sum     = product (("+" | "-") product)*
product = signed (("*" | "/") signed)*
signed  = ("+" | "-")* atom          atom = digits ["." digits] | "(" sum ")"
"""

from __future__ import annotations

import re
from fractions import Fraction

LONGEST = 200  # characters
DEEPEST = 30  # brackets
_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|[-+*/()])")


def evaluate(text: str) -> Fraction | None:
    """The value, or None for anything that is not plain arithmetic, too long, or divides by zero."""
    if len(text) > LONGEST or not re.fullmatch(r"[\d\s.+*/()-]+", text):
        return None
    tokens = [match[1] for match in _TOKEN.finditer(text)]
    if "".join(tokens) != re.sub(r"\s", "", text) or re.search(r"\d\s+\d", text):
        return None
    parser = _Parser(tokens)
    try:
        value = parser.sum(0)
    except (ValueError, ZeroDivisionError):
        return None
    return value if parser.at == len(tokens) else None


class _Parser:
    """Recursive descent over tokens; raises ValueError where the grammar ends."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0

    def _next_is(self, which: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at] in which

    def _take(self) -> str:
        if self.at == len(self.tokens):
            raise ValueError("it ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def sum(self, depth: int) -> Fraction:
        value = self._product(depth)
        while self._next_is("+-"):
            sign = 1 if self._take() == "+" else -1
            value += sign * self._product(depth)
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._signed(depth)
        while self._next_is("*/"):
            value = value * self._signed(depth) if self._take() == "*" else value / self._signed(depth)
        return value

    def _signed(self, depth: int) -> Fraction:
        sign = 1
        while self._next_is("+-"):
            sign *= 1 if self._take() == "+" else -1
        return sign * self._atom(depth)

    def _atom(self, depth: int) -> Fraction:
        token = self._take()
        if token != "(":
            return Fraction(token)
        if depth > DEEPEST:
            raise ValueError("too many brackets")
        value = self.sum(depth + 1)
        if self._take() != ")":
            raise ValueError("a bracket is open")
        return value
