r"""An answer as a value: a number, choice, words or expression, or a tuple, interval, set or union of them.

Cheap and total: every string gets a value at once, or None if nothing is left of it. Rules that need saying:
`1,234` is a number, `1, 2` a set; inside brackets a comma always separates. Percent, degree, currency and
unit words are dropped (50% is 50, not 0.5; `5 feet` is 5), but never a word that changes the number
(`5 million`, `5 pm`). A decimal is the fraction that it writes: 0.33 is not 1/3. `x = 5` is 5. A capital A
to J is a choice.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from outthink.text.numbers import parse_number
from outthink.text.surface import OPEN, matching, split, surface, trim

MAX_PARSED = 1000  # characters; what is longer is compared as words


class Value(NamedTuple):
    """What an answer says: a number, choice, words, expression, tuple, set or union.

    `mark` is the text of words, choices and expressions, and the brackets of a tuple.
    """

    kind: str
    mark: str = ""
    number: Fraction = Fraction(0)
    items: tuple[Value, ...] = ()

    @property
    def is_decided(self) -> bool:
        """Whether equality with any other decided value is equality of keys: no algebra inside."""
        return self.kind != "expression" and all(item.is_decided for item in self.items)

    @property
    def key(self) -> str:
        """One string for all spellings of a decided value."""
        if self.kind == "number":
            return f"number:{self.number}"
        if self.items:
            keys = [item.key for item in self.items]
            return (
                f"{self.kind}{self.mark}[{' ; '.join(sorted(set(keys)) if self.kind != 'tuple' else keys)}]"
            )
        return f"{self.kind}:{self.mark!r}"


@lru_cache(maxsize=8192)
def parse(answer: str) -> Value | None:
    """The value of an answer; None if it says nothing."""
    if len(answer) > MAX_PARSED:
        text = " ".join(answer.split()).casefold()
        return Value("words", text) if text else None
    text = surface(answer)
    return _value(text, depth=0) if any(c.isalnum() or c in "∞∅⦃<>=" for c in text) else None


_CHOICE = re.compile(r"\(?([A-J])\)?|\(([A-J])\)[:.]? \S.*|([A-J])[).:] [\d\\+-].*")
_ASSIGNMENT = re.compile(
    r"([A-Za-z](?:_\{?\w+\}?)?|[A-Za-z]\([A-Za-z]\)|\([a-z](?:, ?[a-z])*\))\s*(?:=|\\in(?![a-z]))\s*"
)
_SUM = re.compile(r"[^A-Za-z=<>]*=")  # "5 + 6 = 11": what is left of the sign has no letters
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}")
_JOIN = re.compile(r"(?:,\s*)?(?:\band\b|\bor\b|;)", re.IGNORECASE)
_MAX_DEPTH = 8


def _value(text: str, depth: int) -> Value:
    """The value of a piece of surface text, outermost structure first."""
    if depth > _MAX_DEPTH:
        return Value("expression", _squeeze(text))
    bare = _unwrap(text)
    if match := _CHOICE.fullmatch(bare):
        return Value("choice", match[1] or match[2] or match[3])
    if (number := parse_number(text)) is not None:
        return Value("number", number=number)
    if "⦃" not in text[:1] and (inner := _assigned(text)) is not None:
        return _value(inner, depth + 1)
    if len(parts := split(text, r"\cup")) > 1:
        return _collection("union", parts, depth)
    parts = split(_JOIN.sub(",", bare) if depth == 0 else bare, ",")
    if len(parts) > 1 and all(parts):
        return _collection("set", parts, depth, keep_names=_names_differ(parts))
    if (group := _group(bare, depth)) is not None:
        return group
    if r"\pm" in bare:
        return _collection("set", [bare.replace(r"\pm", "+").replace(r"\mp", "-"), _minus(bare)], depth)
    return _leaf(bare)


def _minus(text: str) -> str:
    return text.replace(r"\pm", "-").replace(r"\mp", "+")


def _leaf(text: str) -> Value:
    """Infinity, a numeral in another base or with a colon, words, or what only algebra understands."""
    if text == "∅":
        return Value("set", "∅")
    if re.fullmatch(r"[+-]? ?∞", text):
        return Value("words", text.replace("+", "").replace(" ", ""))
    if re.fullmatch(r"[\dA-Z]+ ?_ ?\{? ?\d+ ?\}?|[^A-Za-z\\]*\d:\d.*", text):
        return Value("words", re.sub(r"[\s{}]", "", text).casefold())
    if re.fullmatch(r"(?:[\d\s.+*/()-]|\\cdot )+", text):  # arithmetic that is none, such as an open bracket
        return Value("words", re.sub(r"\s", "", text))
    if _is_words(text):
        return Value("words", text.casefold())
    return Value("expression", _squeeze(text))


def _squeeze(text: str) -> str:
    r"""Without blanks, but for the one that ends a command before a letter (\pi x)."""
    return re.sub(r"(\\[A-Za-z]+ )(?=[A-Za-z])|\s", lambda match: match[1] or "", text)


def _unwrap(text: str) -> str:
    return trim(re.sub(r"\s+", " ", _WRAPPED.sub(r" \1 ", text)))


def _assigned(text: str) -> str | None:
    r"""What a letter is set to (`x = 5`, `x \in [1, 2]`) or a sum comes to, or None."""
    if match := _SUM.match(text):
        rest = text[match.end() :].strip()
        return rest if parse_number(rest.rpartition("=")[2]) is not None else None
    if not (match := _ASSIGNMENT.match(text)):
        return None
    name, rest = match[1], text[match.end() :].strip()
    if not rest or re.search(r"[=<>]|\\[lg]e(?![a-z])", rest) or _mentions(rest, name[0]):
        return None
    return rest


def _mentions(text: str, letter: str) -> bool:
    return letter != "(" and letter in re.sub(r"\\[A-Za-z]+", " ", text)


def _names_differ(parts: list[str]) -> bool:
    """Whether the parts set different letters (`x = 1, y = 2`), so that the letters matter."""
    names = {match[1] if (match := _ASSIGNMENT.match(part)) else "" for part in parts}
    return len(names) > 1 and "" not in names


def _collection(kind: str, parts: list[str], depth: int, keep_names: bool = False) -> Value:
    """A set or union of the parts; sets inside a set are poured into it, and a set of one is its element."""
    items: list[Value] = []
    for part in parts:
        name = match[1] if keep_names and (match := _ASSIGNMENT.match(part)) else ""
        item = _value(part, depth + 1)
        if name:
            item = Value("tuple", f"{name}=", items=(item,))
        items += item.items if item.kind == kind else (item,)
    items = list(dict.fromkeys(items))
    return items[0] if len(items) == 1 else Value(kind, items=tuple(items))


def _group(text: str, depth: int) -> Value | None:
    """A bracketed text: (a), (a, b), [a, b), {a, b} or a matrix."""
    if text.startswith(r"\begin{pmatrix}") and text.endswith(r"\end{pmatrix}") and text.count(r"\begin") == 1:
        rows = text[len(r"\begin{pmatrix}") : -len(r"\end{pmatrix}")].strip().removesuffix("⏎").split("⏎")
        cells = tuple(Value("tuple", "row", items=tuple(_cells(row, depth))) for row in rows)
        return Value("tuple", "matrix", items=cells)
    if len(text) < 2 or text[0] not in OPEN or matching(text) != len(text) - 1:
        return None
    inner = text[1:-1].strip()
    if text[0] in "{" or (text[0] == "(" and text[-1] == ")" and len(split(inner, ",")) == 1):
        return _value(inner, depth + 1) if inner else Value("expression", text)
    parts = split(inner, ",")
    if text[0] == "⦃":
        return _collection("set", parts, depth) if all(parts) else Value("set", "∅")
    if not all(parts):
        return None
    return Value("tuple", text[0] + text[-1], items=tuple(_value(part, depth + 1) for part in parts))


def _cells(row: str, depth: int) -> list[Value]:
    return [_value(trim(cell), depth + 1) for cell in row.split("&")]


_FUNCTIONS = frozenset(
    "sin cos tan cot sec csc log exp sqrt frac max min gcd lcm mod det arcsin arccos arctan".split()
)
_SHORT_WORDS = frozenset("no on up in to at by us we he it me my so do go or if is of as an am pm ok".split())


def _is_words(text: str) -> bool:
    """Whether the text is language rather than mathematics: it has a word, and LaTeX does not own it.

    Letters without any operator are a word, and what stands apart is a sequence: `ab` is not `ba`, `a 3 b`
    not `b 3 a`.
    """
    if re.fullmatch(r"[^\W\d_]{2,}|[^\W_]+(?: [^\W_]+)+", text):
        return True
    words = re.findall(r"[^\W\d_]+", re.sub(r"\\[A-Za-z]+|\{[a-z]*matrix\}", " ", text))
    return text.casefold() in _SHORT_WORDS or any(len(w) > 2 and w.lower() not in _FUNCTIONS for w in words)
