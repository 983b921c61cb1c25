"""Plain arithmetic as a value."""

from __future__ import annotations

from fractions import Fraction

import pytest

from outthink.text import classes, equivalent
from outthink.text.arithmetic import evaluate


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("((5 * 4) - 1) + 8", 27),
        ("2 - 3 - 4", -5),
        ("12 / 4 / 3", 1),
        ("1 + 2 * 3", 7),
        ("-(2 - 5)", 3),
        ("7 / 2", Fraction(7, 2)),
        ("1.5 * 4", 6),
    ],
)
def test_values(text: str, value: Fraction | int) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "1 2", "1 +", "(1", "1)", "1 / 0", "2 ** 3", "9" * 300, "(" * 99 + "1" + ")" * 99, "a + 1", "1..2"],
)
def test_what_is_no_plain_arithmetic(text: str) -> None:
    assert evaluate(text) is None


def test_answers_of_one_value_are_one_class() -> None:
    assert equivalent("(6 + 2) * 3", "24") and not equivalent("6 + 2 * 3", "24")
    assert classes(["3 * 8", "24", "5 * 5", "4 * 6", "25"]) == [0, 0, 1, 0, 1]
