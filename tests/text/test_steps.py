"""Steps depend on the text alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outthink.text import StepSplitter, split_steps

LINES = [
    ("a\nb", ["a\n", "b"]),
    ("a\nb\n", ["a\n", "b\n"]),
    ("a\n\n\nb", ["a\n", "\n\nb"]),
    ("\n\na", ["\n\na"]),
    ("a\n \n\n", ["a\n \n\n"]),
    ("a\r\n\r\nb\r\n", ["a\r\n", "\r\nb\r\n"]),
    ("  indented\n\tstep", ["  indented\n", "\tstep"]),
    ("", []),
    ("\n \n", []),
]


@pytest.mark.parametrize(("text", "steps"), LINES)
def test_a_step_is_a_line_and_blank_lines_are_none(text: str, steps: list[str]) -> None:
    assert split_steps(text) == steps


PARAGRAPHS = [
    ("a\nb\n\nc", ["a\nb\n\n", "c"]),
    ("a\n\n\nb\n\n\n\n", ["a\n\n", "\nb\n\n\n\n"]),
    ("\n\na\nb", ["\n\na\nb"]),
]


@pytest.mark.parametrize(("text", "steps"), PARAGRAPHS)
def test_paragraphs(text: str, steps: list[str]) -> None:
    assert split_steps(text, separator="\n\n") == steps


def test_a_separator_of_words() -> None:
    assert split_steps("one## two##  ##three", separator="##") == ["one##", " two##", "  ##three"]
    assert split_steps("####a##b", separator="##") == ["####a##", "b"]


def test_closed_steps_are_told_apart_from_the_tail() -> None:
    splitter = StepSplitter()
    assert splitter.feed("1 + 1") == []
    assert splitter.tail == "1 + 1"
    assert splitter.feed(" = 2.\n\n\n2 +") == ["1 + 1 = 2.\n"]
    assert splitter.tail == "\n\n2 +"
    assert splitter.has_content
    assert splitter.feed(" 2\n") == ["\n\n2 + 2\n"]
    assert splitter.tail == ""
    assert splitter.feed(" \n") == []
    assert not splitter.has_content


def test_an_empty_separator_is_refused() -> None:
    with pytest.raises(ValueError, match="separator"):
        StepSplitter("")


_TEXT = st.text(alphabet="ab.# \n\r", max_size=60)
_SEPARATOR = st.sampled_from(["\n", "\n\n", "##", ". ", "\r\n"])


@given(_TEXT, _SEPARATOR)
def test_steps_restore_the_text_and_have_content(text: str, separator: str) -> None:
    steps = split_steps(text, separator)
    assert "".join(steps) == text or not steps
    assert all(step.strip() for step in steps)
    assert bool(steps) == bool(text.replace(separator, "").strip())


@given(_TEXT, _SEPARATOR, st.data())
def test_no_chunking_changes_the_steps(text: str, separator: str, data: st.DataObject) -> None:
    whole = StepSplitter(separator)
    expected = whole.feed(text)
    chunked = StepSplitter(separator)
    closed: list[str] = []
    rest = text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        closed += chunked.feed(rest[:size])
        rest = rest[size:]
    assert closed == expected
    assert (chunked.tail, chunked.has_content) == (whole.tail, whole.has_content)
    assert "".join(closed) + chunked.tail == text
    assert all(step.endswith(separator) for step in closed)
