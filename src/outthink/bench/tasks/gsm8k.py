"""Grade-school word problems from a local file in the format of GSM8K (question, answer)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from outthink.bench.tasks._common import LONGEST_LINE, answer_of
from outthink.bench.tasks._files import entry
from outthink.core.problem import Problem, Secret
from outthink.text import equivalent

FIELDS = ("question", "answer")
NUMBER = r"[0-9][0-9,]{0,14}(?:\.[0-9]{1,6})?"
EQUATION = re.compile(rf"({NUMBER}) ?([-+*/]) ?\$?({NUMBER}) ?= ?\$?({NUMBER})")
NOTE = re.compile(r"<<([^<>=]{1,80})=([^<>=]{1,40})>>")
PIECE_BEFORE = (*"+-*/x×–)^", *"0123456789")
PIECE_AFTER = (*"+-*/x×–%^", *"0123456789")
LAST = re.compile(rf"-?\.?{NUMBER}|-?\.[0-9]+")


def last_number(text: str) -> str | None:
    """The last number in a text, without thousands commas."""
    found = LAST.findall(text[-2000:])
    return found[-1].rstrip(",").replace(",", "") if found else None


def fraction(text: str) -> Fraction | None:
    """A plain decimal number."""
    plain = text.strip().lstrip("$").replace(",", "")
    return Fraction(plain) if re.fullmatch(r"-?[0-9]{0,15}\.?[0-9]{1,9}", plain) else None


def close(a: Fraction, b: Fraction) -> bool:
    """Equal, or equal after the rounding that such solutions use (two places)."""
    return abs(a - b) <= Fraction(1, 100)


def compute(a: Fraction, op: str, b: Fraction) -> Fraction | None:
    """a op b, None for a division by zero."""
    if op == "/":
        return a / b if b else None
    return a + b if op == "+" else a - b if op == "-" else a * b


def equation_holds(a: str, op: str, b: str, c: str) -> bool:
    """Whether `a op b = c` is true of plain numbers; true as well if one of them cannot be read."""
    x, y, z = fraction(a), fraction(b), fraction(c)
    if x is None or y is None or z is None:
        return True
    value = compute(x, op, y)
    return value is not None and close(value, z)


def equations(text: str) -> list[tuple[str, str, str, str]]:
    """Every `a op b = c` that is no piece of something longer, such as `2 + a op b = c` or `a op b = c/3`."""
    found = []
    for match in EQUATION.finditer(text):
        before, after = text[: match.start()].rstrip(" $"), text[match.end() :].lstrip(" ")
        inside = text[: match.start()].endswith((".", ",")) or before.endswith(PIECE_BEFORE)
        if not inside and not after.startswith(PIECE_AFTER):
            found.append((match[1], match[2], match[3], match[4]))
    return found


def note_holds(left: str, right: str) -> bool:
    """Whether `<<left=right>>` is true where left is two plain numbers and an operation; else unjudged."""
    match = re.fullmatch(rf" ?({NUMBER}) ?([-+*/]) ?({NUMBER}) ?", left)
    return match is None or equation_holds(match[1], match[2], match[3], right)


@dataclass(frozen=True)
class Gsm8k:
    """Problems of a local file; nothing is downloaded."""

    path: str

    name = "gsm8k"
    statement = "Grade-school word problems from a local JSONL file; the answer is a number."

    def problem(self, split: str, index: int) -> Problem:
        """Problem number `index` of the file."""
        record = entry(self.path, FIELDS, split, index)
        solution, _, reference = record["answer"].rpartition("####")
        reference = reference.strip().replace(",", "")
        secret = Secret(reference, f"{solution.strip()}\nA: {reference}")
        tag = f"{self.name}/0/{split}/{index}"
        return Problem(record["question"], id=tag, task=self, secret=secret)

    def check(self, problem: Problem, final: str | None) -> bool:
        """Whether the last number of `final` is the reference."""
        number = None if final is None else last_number(final)
        return number is not None and equivalent(number, problem.secret.reference)

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> list[bool]:
        """A line is right unless an `a op b = c` or `<<a op b=c>>` in it is wrong (to a hundredth)."""
        return [self._judge(problem, line) for line in steps]

    def _judge(self, problem: Problem, line: str) -> bool:
        """One line."""
        answer = answer_of(line)
        if answer is not None:
            return self.check(problem, answer)
        text = line[: 10 * LONGEST_LINE]
        plain = NOTE.sub(" ", text)
        return all(equation_holds(*found) for found in equations(plain)) and all(
            note_holds(*found) for found in NOTE.findall(text)
        )
