"""The surface of an answer: one spelling of characters and of LaTeX that changes only the look; brackets."""

from __future__ import annotations

import re
import unicodedata

OPEN, CLOSE = "([{⦃", ")]}⦄"

_SUPERSCRIPTS = {c: f"^{{{d}}}" for c, d in zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)}
_FRACTIONS = {
    "½": "1/2",
    "⅓": "1/3",
    "⅔": "2/3",
    "¼": "1/4",
    "¾": "3/4",
    "⅕": "1/5",
    "⅛": "1/8",
    "⅜": "3/8",
    "⅝": "5/8",
}
_CHARACTERS = str.maketrans(
    {
        **_SUPERSCRIPTS,
        **{c: f" {f}" for c, f in _FRACTIONS.items()},
        **dict.fromkeys("−–—‒―﹣－", "-"),
        **dict.fromkeys("×⋅·∙", r"\cdot "),
        **dict.fromkeys("€£¥₹₽₩¢°", ""),
        "÷": "/",
        "⁄": "/",
        "π": r"\pi ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "±": r"\pm ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "“": '"',
        "”": '"',
        "‘": "'",
        "’": "'",
        "∈": r"\in ",
    }
)
_REWRITES = [
    (re.compile(r"^\s*\*\*(.*)\*\*\s*$"), r"\1"),
    (re.compile(r"\\\\"), "⏎"),
    (re.compile(r",\s*(?:\\!|\\,)\s*|\{,\}"), ","),  # 10,\!080
    (re.compile(r"(?<=\d)\\,(?=\d{3})"), ""),  # 10\,080
    (re.compile(r"\\begin\{(?:array|[pbvB]?matrix)\}(?:\{[clr|]*\})?"), r"\\begin{pmatrix}"),
    (re.compile(r"\\end\{(?:array|[pbvB]?matrix)\}"), r"\\end{pmatrix}"),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![a-z])"), ""),
    (re.compile(r"\\[!,;:> ]|\\q?quad(?![a-z])|~|\\\(|\\\)|\\\[|\\\](?![a-z])"), " "),
    (re.compile(r"\\\$|\$|`"), ""),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\circ(?![a-z])|\\degree(?![a-z])"), ""),
    (re.compile(r"\\?%"), ""),
    (re.compile(r"\\[dtc]frac"), r"\\frac"),
    (re.compile(r"\\(?:boxed|fbox)(?=\{)"), ""),
    (re.compile(r"\\(?:times|ast)(?![a-z])|(?<![*])\*(?![*])"), r"\\cdot "),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\\(?:emptyset|varnothing)(?![a-z])"), "∅"),
    (re.compile(r"\\infty(?![a-z])|\binfinity\b"), "∞"),
    (re.compile(r"\\neq?(?![a-z])"), r"\\ne "),
    (re.compile(r"\\(?:lbrace(?![a-z])|\{)"), "⦃"),
    (re.compile(r"\\(?:rbrace(?![a-z])|\})"), "⦄"),
    (re.compile(r"\\langle(?![a-z])"), "("),
    (re.compile(r"\\rangle(?![a-z])"), ")"),
    (re.compile(r"√\s*(\d+|[A-Za-z])|√?(?<![A-Za-z\\])(?:sqrt|√)\s*\(([^()]*)\)"), r"\\sqrt{\1\2}"),
    (re.compile(r"(?<![A-Za-z\\])(pi|sin|cos|tan|cot|log|ln|exp)(?![A-Za-z])"), r"\\\1 "),
    (re.compile(r"\^\s*(-?\d{2,}|-\d)"), r"^{\1}"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\geq(?![a-z])"), r"\\ge "),
    (re.compile(r"\\leq(?![a-z])"), r"\\le "),
    (re.compile(r"\s+"), " "),
]


def surface(answer: str) -> str:
    """One spelling of characters and of LaTeX that only changes the look."""
    text = unicodedata.normalize("NFKC", answer.translate(_CHARACTERS)).translate(_CHARACTERS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return trim(text)


def trim(text: str) -> str:
    return text.strip().strip("\"'").rstrip(".,;:! ").strip()


def matching(text: str) -> int:
    """Where the bracket that opens the text is closed, by any shape of it (intervals mix them), or -1."""
    level = 0
    for at, c in enumerate(text):
        level += (c in OPEN) - (c in CLOSE)
        if level == 0:
            return at
    return -1


def split(text: str, separator: str) -> list[str]:
    """The parts between separators that no bracket holds."""
    parts, level, start = [], 0, 0
    for at, c in enumerate(text):
        level += (c in OPEN) - (c in CLOSE)
        if level == 0 and c == separator[0] and text.startswith(separator, at):
            parts.append(text[start:at].strip())
            start = at + len(separator)
    return [*parts, text[start:].strip()]
