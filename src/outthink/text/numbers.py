"""Exact numbers in the surface of an answer, units dropped."""

from __future__ import annotations

import re
from fractions import Fraction

from outthink.text.arithmetic import evaluate
from outthink.text.surface import matching

MAX_EXPONENT = 300  # of a number in scientific notation

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)"
_ARGUMENT = r"(?:\{\s*([+-]?\s*" + _PLAIN + r")\s*\}|\s*(\d))"
_SCALED = re.compile(
    rf"({_PLAIN})\s*(?:[eE]([+-]?\d{{1,4}})|\\cdot\s*10\s*\^\s*(?:\{{\s*([+-]?\d{{1,4}})\s*\}}|(\d)))?"
)
_RATIO = re.compile(rf"(?:(\d+)\s*)?\\frac\s*{_ARGUMENT}\s*{_ARGUMENT}")
_SLASH = re.compile(rf"(?:(\d+) )?({_PLAIN})\s*/\s*({_PLAIN})")
_ATTACHED = (
    "cm|mm|km|kg|mg|ml|mL|lbs?|oz|ft|in|mph|kph|hrs?|mins?|secs?|sq|m/s"  # never one letter: 5m is 5 times m
)
_UNIT = re.compile(
    rf"(?:\s*(?:{_ATTACHED})| [A-Za-z]{{3,}})"
    r"(?:[ /](?:[A-Za-z]{2,}|[hs]))*(?:\s*\^\s*\{?\s*[23]\s*\}?)?"
)
_NOT_UNITS = frozenset(
    "hundred thousand million billion trillion dozen half quarter third and or to of am pm noon plus minus "
    "times over mod choose pi sqrt sin cos tan cot sec csc log ln exp is not if by".split()
)


def parse_number(text: str) -> Fraction | None:
    """An exact number: sign, separators, fraction, exponent, plain arithmetic, a unit after it; else None."""
    if not text or len(text) > 400 or not any(c.isdigit() for c in text):
        return None
    number = _bare_number(text)
    if number is None:
        number = evaluate(text.replace("\\cdot", "*"))
    if number is None and (cut := _without_unit(text)) is not None:
        number = _bare_number(cut)
    return number


def _bare_number(text: str) -> Fraction | None:
    text = text.strip()
    while len(text) > 2 and (text[0] + text[-1]) in ("()", "{}") and matching(text) == len(text) - 1:
        if "," in text:
            return None  # a pair
        text = text[1:-1].strip()
    sign = -1 if text.startswith("-") else 1
    text = text.lstrip("+-").strip() if text[:1] in ("+", "-") and text[1:2] not in ("+", "-") else text
    if match := _SCALED.fullmatch(text):
        exponent = int(match[2] or match[3] or match[4] or 0)
        if abs(exponent) > MAX_EXPONENT:
            return None
        return sign * Fraction(match[1].replace(",", "").rstrip(".") or "0") * Fraction(10) ** exponent
    if match := _RATIO.fullmatch(text):
        return _mixed(sign, match[1], match[2] or match[3], match[4] or match[5])
    if match := _SLASH.fullmatch(text):
        return _mixed(sign, *match.groups())
    return None


def _mixed(sign: int, whole: str | None, above: str, below: str) -> Fraction | None:
    top, bottom = (Fraction(re.sub(r"[,\s]", "", part).rstrip(".")) for part in (above, below))
    if bottom == 0 or (whole and (top < 0 or bottom < 0)):
        return None
    return sign * (int(whole or 0) + top / bottom)


def _without_unit(text: str) -> str | None:
    r"""The text before a unit: `5 km`, `5.4 \text{ cents}`, `15\mbox{ cm}^2`; None if no unit ends it."""
    wrapped = r"\s*\\(?:text|textbf|textrm|mbox|mathrm)\s*\{([^{}]*)\}(?:\s*\^\s*\{?\s*[23]\s*\}?)?"
    if (match := re.search(wrapped + "$", text)) and match[1].strip():
        content, head = match[1], text[: match.start()]
        good = re.fullmatch(r"[\sA-Za-z./^23{}-]*", content) and not _words(content) & _NOT_UNITS
        return head if good and "." not in content.rstrip(". ") else None
    head_match = re.match(r"[^A-Za-z\\]*(?:\\frac[^A-Za-z\\]*)?", text)
    head = head_match[0].rstrip() if head_match else ""
    tail = text[len(head) :]
    if not head or not _UNIT.fullmatch(tail) or _words(tail) & _NOT_UNITS:
        return None
    return head


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))
