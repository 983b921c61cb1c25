r"""The final answer of a solution: only what the text marks as its answer, never a guess.

Marks:  \boxed{x}   #### x   a line `A: x` or `Answer: x`   "the answer is x"   a last line that is only `(B)`

Precedence: the mark that begins last wins, whatever its kind, because sub-questions are answered before the
question. A mark that is empty or cut off still wins and gives None: the answer before it belongs to something
else. What only looks like a mark (a list of options, a heading, "the answer is not ...", prose after `A:`) is
passed over. Text that goes on to other questions must be cut before it comes here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

MAX_ANSWER = 2000  # characters; longer marks are runaway text
MAX_MARKS = 50  # how many are looked at, from the end

_MARKS = re.compile(
    r"""
      (?P<boxed> \\(?:boxed|fbox|framebox)(?![A-Za-z]) )
    | ^[ \t]* (?P<hash> \#\#\#\#(?!\#) )
    | ^[ \t>*_\#-]{0,9}
      (?P<line> (?: A | (?i:(?:the[ ])?(?:(?:final|correct)[ ])?answer) ) [*_]{0,3} [ \t]? [:：] )
    | (?P<phrase> (?i: \banswers?\b (?:[ ]to[ ][^.\n]{1,80}?)? [ ]
          (?:is|are|=|would[ ]be|must[ ]be|should[ ]be) (?![A-Za-z])
          (?:[ ](?:therefore|thus|then|simply|just|indeed|equal[ ]to)\b)? [ \t]? [:：]?
        | \bfinal[ ]answer[ ]?[:：=] ))
    """,
    re.MULTILINE | re.VERBOSE,
)
_CHOICE_LINE = re.compile(r"[ \t*]*\(?([A-J])\)[ \t*.]*")
_CONDITION = re.compile(r"\b(?:if|whether|suppose|assum\w+|unless|until)\b[^.\n]*$", re.IGNORECASE)
_OPTION_B = re.compile(r"^[ \t>*_(-]*B[)*_]*[ \t]?[:：]", re.MULTILINE)
_HEADING = re.compile(r"(?:step|part|case|solution|answer|conclusion|final|\d+[.)]\s+[^\W\d])", re.IGNORECASE)
_NO_VALUE = re.compile(
    r"(?:not|unclear|unknown|undetermined|correct|incorrect|wrong|right|clear|obvious|in|to|as|that|what|how|why|by|"
    r"given|found|obtained|calculated|computed|determined|derived|going|now|also|based|expected|supposed)\b",
    re.IGNORECASE,
)
_PROSE = re.compile(r"[.!?]\s+[^\W\d_]|^(?:let|we|first|since|because|so|step|i|to)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(
    r"[.!?](?=[\s*]|$)|;|,(?=\s+[^\W\d_]{2,})|\s(?=(?:because|since|as|so|which|where|when|after|if|but)\b)"
)
_LATEX_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{3,}")
_WRAPS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("__", "__"), ("`", "`"))


class Extraction(NamedTuple):
    """The marked answer, or None; and which mark gave it, or why there is none."""

    value: str | None
    reason: str


@lru_cache(maxsize=256)  # a search asks again and again for what it has just written
def final_answer(text: str) -> Extraction:
    r"""The last marked answer of `text`, as it is written there: that of "... \boxed{3/4}" is "3/4"."""
    if choice := _choice_line(text):
        return Extraction(choice, "choice line")
    for mark in reversed(list(_MARKS.finditer(text))[-MAX_MARKS:]):
        found = _READERS[mark.lastgroup or ""](text, mark)
        if found is not None:
            return found
    return Extraction(None, "no answer is marked: no box, no #### line, no `A:` line, no 'the answer is'")


def _choice_line(text: str) -> str | None:
    last = text.rstrip().rpartition("\n")[2]
    match = _CHOICE_LINE.fullmatch(last)
    return match[1] if match else None


def _boxed(text: str, mark: re.Match[str]) -> Extraction | None:
    start = mark.end()
    while text[start : start + 1].isspace():
        start += 1
    if text[start : start + 1] != "{":
        token = re.match(r"[+-]?[\w.]+", text[start:])  # "\boxed 5"
        return (
            Extraction(token[0], "boxed")
            if token
            else Extraction(None, r"cut off: \boxed without its content")
        )
    end = _closing_brace(text, start)
    if end is None:
        return Extraction(None, r"cut off: the last \boxed{ is not closed")
    return _found(text[start + 1 : end].strip(), "boxed")


def _closing_brace(text: str, start: int) -> int | None:
    """Where the brace at `start` is closed; an escaped brace is a character."""
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.start()
    return None


def _hash(text: str, mark: re.Match[str]) -> Extraction | None:
    line, rest = _line_and_rest(text, mark.end())
    value = _clean(line)
    if value and (_HEADING.match(value) or (rest.strip() and _num_words(value) > 1)):
        return None  # a markdown heading of level four
    return _found(value, "#### line")


def _line(text: str, mark: re.Match[str]) -> Extraction | None:
    line, rest = _line_and_rest(text, mark.end())
    if mark["line"].startswith("A") and (_OPTION_B.match(rest.lstrip()) or re.search(r"\bB[ ]?:", line)):
        return None  # the first of a list of options
    value = _clean(line)
    if not value:
        return _next_line(rest, "answer line")
    num_words = _num_words(value)
    if (num_words > 2 and _PROSE.search(value)) or (num_words > 5 and rest.strip()):
        return None  # a worked answer begins here; it may mark its end below
    return _found(value, "answer line")


def _phrase(text: str, mark: re.Match[str]) -> Extraction | None:
    if _CONDITION.search(text[max(0, mark.start() - 60) : mark.start()]):
        return None
    line, rest = _line_and_rest(text, mark.end())
    value = _clean(_sentence(line.strip()[: 2 * MAX_ANSWER]))
    if not value:
        return _next_line(rest, "answer phrase")
    if _NO_VALUE.match(value) or _num_words(value) > 4:
        return None
    return _found(value, "answer phrase")


_READERS: dict[str, Callable[[str, re.Match[str]], Extraction | None]] = {
    "boxed": _boxed,
    "hash": _hash,
    "line": _line,
    "phrase": _phrase,
}


def _line_and_rest(text: str, start: int) -> tuple[str, str]:
    line, _, rest = text[start:].partition("\n")
    return line, rest


def _next_line(rest: str, reason: str) -> Extraction | None:
    """The value of a mark that ends its line: on one of the next lines, if that looks like an answer."""
    for line in rest.lstrip().split("\n", 3)[:3]:
        if value := _clean(line):
            return _found(value, reason) if _num_words(value) <= 4 and not _HEADING.match(value) else None
    return _found("", reason)


def _sentence(line: str) -> str:
    """`line` up to the end of its first sentence; marks inside $...$ or brackets end nothing."""
    for match in _SENTENCE_END.finditer(line):
        before = line[: match.start()]
        balanced = all(before.count(a) == before.count(b) for a, b in ("()", "[]", "{}"))
        if balanced and before.replace(r"\$", "").count("$") % 2 == 0:
            return before
        if balanced and re.match(r"\$\s*\d", line) and line.count("$") == 1:
            return before  # a price, not mathematics
    return line


def _num_words(value: str) -> int:
    """How many words of three letters or more; LaTeX commands are not words."""
    return len(_WORD.findall(_LATEX_COMMAND.sub(" ", value)))


def _clean(value: str) -> str:
    """Without blanks, emphasis, mathematics delimiters and the full stop around it."""
    value = value.strip().lstrip("*_ \t:：")
    if value.startswith("\\[") and not value.endswith("\\]"):
        value = value[2:]  # a display that opens here and closes on a later line
    while True:
        before = value
        value = value.strip().rstrip("*_").strip()
        if value.endswith((".", ",", ";")) and not value.endswith("..."):
            value = value[:-1]
        for left, right in _WRAPS:
            inner = value[len(left) : len(value) - len(right)]
            if (
                value.startswith(left)
                and value.endswith(right)
                and len(value) >= 2 * len(left)
                and left not in inner
            ):
                value = inner
        if value in ("$$", "$", r"\[", r"\]", r"\(", r"\)"):
            value = ""
        if value == before:
            return value


def _found(value: str, reason: str) -> Extraction:
    if not value:
        return Extraction(None, f"the last mark ({reason}) has nothing after it: the text may be cut off")
    if len(value) > MAX_ANSWER:
        return Extraction(None, f"the last mark ({reason}) is longer than {MAX_ANSWER} characters")
    return Extraction(value, reason)
