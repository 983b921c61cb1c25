r"""An answer as a value: a number, choice, words or expression, or a tuple, interval, set or union of them.

Cheap and total: every string gets a value at once, or None if nothing is left of it. Rules that need saying:
`1,234` is a number, `1, 2` a set; inside brackets a comma always separates. Percent, degree, currency and
unit words are dropped (50% is 50, not 0.5; `5 feet` is 5), but never a word that changes the number
(`5 million`, `5 pm`). A decimal is the fraction that it writes: 0.33 is not 1/3. `x = 5` is 5. A capital A
to J is a choice.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from outthink.text.arithmetic import evaluate

MAX_PARSED = 1000  # characters; what is longer is compared as words
MAX_EXPONENT = 300  # of a number in scientific notation


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
    text = _surface(answer)
    return _value(text, depth=0) if any(c.isalnum() or c in "∞∅⦃<>=" for c in text) else None


# ---------------------------------------------------------------------------------------------- the surface

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


def _surface(answer: str) -> str:
    """One spelling of characters and of LaTeX that only changes the look."""
    text = unicodedata.normalize("NFKC", answer.translate(_CHARACTERS)).translate(_CHARACTERS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return _trim(text)


def _trim(text: str) -> str:
    return text.strip().strip("\"'").rstrip(".,;:! ").strip()


# ------------------------------------------------------------------------------------------------- the value

_CHOICE = re.compile(r"\(?([A-J])\)?|\(([A-J])\)[:.]? \S.*|([A-J])[).:] [\d\\+-].*")
_ASSIGNMENT = re.compile(
    r"([A-Za-z](?:_\{?\w+\}?)?|[A-Za-z]\([A-Za-z]\)|\([a-z](?:, ?[a-z])*\))\s*(?:=|\\in(?![a-z]))\s*"
)
_SUM = re.compile(r"[^A-Za-z=<>]*=")  # "5 + 6 = 11": what is left of the sign has no letters
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}")
_JOIN = re.compile(r"(?:,\s*)?(?:\band\b|\bor\b|;)", re.IGNORECASE)
_OPEN, _CLOSE = "([{⦃", ")]}⦄"
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
    if len(parts := _split(text, r"\cup")) > 1:
        return _collection("union", parts, depth)
    parts = _split(_JOIN.sub(",", bare) if depth == 0 else bare, ",")
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
    return _trim(re.sub(r"\s+", " ", _WRAPPED.sub(r" \1 ", text)))


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
    if len(text) < 2 or text[0] not in _OPEN or _matching(text) != len(text) - 1:
        return None
    inner = text[1:-1].strip()
    if text[0] in "{" or (text[0] == "(" and text[-1] == ")" and len(_split(inner, ",")) == 1):
        return _value(inner, depth + 1) if inner else Value("expression", text)
    parts = _split(inner, ",")
    if text[0] == "⦃":
        return _collection("set", parts, depth) if all(parts) else Value("set", "∅")
    if not all(parts):
        return None
    return Value("tuple", text[0] + text[-1], items=tuple(_value(part, depth + 1) for part in parts))


def _cells(row: str, depth: int) -> list[Value]:
    return [_value(_trim(cell), depth + 1) for cell in row.split("&")]


def _matching(text: str) -> int:
    """Where the bracket that opens the text is closed, by any shape of it (intervals mix them), or -1."""
    level = 0
    for at, c in enumerate(text):
        level += (c in _OPEN) - (c in _CLOSE)
        if level == 0:
            return at
    return -1


def _split(text: str, separator: str) -> list[str]:
    """The parts between separators that no bracket holds."""
    parts, level, start = [], 0, 0
    for at, c in enumerate(text):
        level += (c in _OPEN) - (c in _CLOSE)
        if level == 0 and c == separator[0] and text.startswith(separator, at):
            parts.append(text[start:at].strip())
            start = at + len(separator)
    return [*parts, text[start:].strip()]


# -------------------------------------------------------------------------------------------------- numbers

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
    while len(text) > 2 and (text[0] + text[-1]) in ("()", "{}") and _matching(text) == len(text) - 1:
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
