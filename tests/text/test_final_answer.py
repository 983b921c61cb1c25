"""Extraction: the last mark wins, and what is not marked is not guessed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outthink.text import final_answer

MARKED = [
    ("14 - 6 = 8\nA: 8", "8"),
    ("A: 8.", "8"),
    ("work\n#### 1,234", "1,234"),
    ("####18", "18"),
    (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
    (r"\boxed{\text{(\textbf{B})}}", r"\text{(\textbf{B})}"),
    (r"\boxed 7", "7"),
    (r"\fbox{9}", "9"),
    ("The answer is 5.", "5"),
    ("The answer is 3.5.", "3.5"),
    ("the answer is .5", ".5"),
    ("The answer is (B).", "(B)"),
    ("The answer is $3.50.", "$3.50"),
    ("The answer is $5 because he pays twice.", "$5"),
    ("The answer is 3, so we are done.", "3"),
    ("Therefore, the answers are 3 and 5.", "3 and 5"),
    (r"the answer is $\frac12$. Done", r"\frac12"),
    ("the answer to the question is 4", "4"),
    ("The final answer is: $x=\\{1,2\\}$. I hope it is correct.", "x=\\{1,2\\}"),
    ("The answer is:\n\n\\[ 5 \\]", "5"),
    ("Answer:\n$$\n5\n$$", "5"),
    ("**Final Answer:** 42", "42"),
    ("### Answer: 42", "42"),
    ("> **Answer**: 42", "42"),
    ("ANSWER: B", "B"),
    ("Answer: (3, 4]", "(3, 4]"),
    ("It must be this one:\n(B)", "B"),
    ("the answer is **5 dollars** because", "5 dollars"),
    ("A: apple banana cherry grape lemon mango peach", "apple banana cherry grape lemon mango peach"),
]


@pytest.mark.parametrize(("text", "value"), MARKED)
def test_marked_answers_are_found_as_written(text: str, value: str) -> None:
    assert final_answer(text).value == value


LAST_WINS = [
    ("Answer: 5\nThat was the first part.\nThe final answer is 7", "7"),
    (r"Answer: 5, and so \boxed{7}", "7"),
    (r"\boxed{5} was wrong." + "\nA: 7", "7"),
    (r"First \boxed{3}, then \boxed{4}.", "4"),
    ("#### 5\nA: 6\n#### 7", "7"),
    ("A: 5 (the answer is in dollars)\nA: 7", "7"),
    (r"Final Answer: The answer is $\boxed{7}$.", "7"),
    ("Question 1: ...\nAnswer: 3\nQuestion 2: ...\nAnswer: 12", "12"),
    ("The answer is A if x holds.\nIt does not.\n(C)", "C"),
    ("a) A is tempting. The answer is b", "b"),
]


@pytest.mark.parametrize(("text", "value"), LAST_WINS)
def test_the_last_mark_wins(text: str, value: str) -> None:
    assert final_answer(text).value == value


PASSED_OVER = [
    "She has 14 coins and buys 18 more, 32 in all.",  # a number is no mark
    "",
    "The answer is not 5.",
    "If the answer is 5, then we need 3 more.",
    "The answer is clear from the picture.",
    "A: 12\nB: 15\nC: 20\nWhich one?",  # the options, repeated
    "A: 12 B: 15 C: 20",
    "#### Step 2: add 5\nso we add",
    "#### 2. Add the numbers\nso we add",
    "A: Let's think step by step. First 5 and then",
    "Choose a or b, not (C) or (D), as shown.",
    "Intermediate answer: 5",
]


@pytest.mark.parametrize("text", PASSED_OVER)
def test_what_is_not_marked_is_not_guessed(text: str) -> None:
    value, reason = final_answer(text)
    assert value is None
    assert "no answer is marked" in reason


CUT_OFF = [
    (r"First \boxed{3}. Then \boxed{\frac{1}{2", "not closed"),
    (r"A: 5" + "\n" + r"so \boxed{", "not closed"),
    ("Answer: 5\nNow the second part.\nAnswer:", "cut off"),
    ("The answer is", "cut off"),
    (r"\boxed{}", "nothing after it"),
    (r"\boxed", "cut off"),
    ("#### ", "cut off"),
    ("A: " + "x" * 3000, "longer than"),
]


@pytest.mark.parametrize(("text", "reason"), CUT_OFF)
def test_an_unfinished_last_mark_gives_nothing_and_says_why(text: str, reason: str) -> None:
    extraction = final_answer(text)
    assert extraction.value is None
    assert reason in extraction.reason


HOSTILE = [
    "{" * 10_000,
    r"\boxed{" * 5_000,
    "A:\n" * 20_000,
    "the answer is not\n" * 20_000,
    "((. " * 20_000,
    "$" * 50_000,
]
HOSTILE += [
    "the answer is " + "( . " * 50_000,
    "answer to " * 20_000,
    "* " * 50_000 + "A: 5",
    "#### x\n" * 30_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_hostile_text_is_read_fast(text: str) -> None:
    start = time.process_time()
    final_answer(text)
    assert time.process_time() - start < 1.0


@given(st.text(), st.integers(-(10**12), 10**12))
def test_a_last_line_that_is_marked_is_the_answer_whatever_came_before(before: str, number: int) -> None:
    assert final_answer(f"{before}\nA: {number}").value == str(number)
    assert final_answer(f"{before}\n\\boxed{{{number}}}").value == str(number)


@given(st.text(alphabet="A:#$\\boxed{}() \n.0123456789answer is", max_size=80))
def test_no_text_breaks_the_parser_and_values_come_from_the_text(text: str) -> None:
    value, reason = final_answer(text)
    assert reason
    assert value is None or (value.strip() and value in text)
