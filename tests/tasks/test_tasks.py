"""Every family: deterministic, splits apart, references right, planted errors found, hostile text met."""

from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outthink.bench.tasks import load, names
from outthink.bench.tasks._common import Draw, split_of, whole
from outthink.core.problem import Problem, Task

FAMILIES = ("countdown", "paths", "procedures", "steps")
LEVELS = tuple(range(1, 9))
GOLDEN = {
    "countdown": "3ed3b7fedba5dfea",
    "paths": "536da4958151a8b6",
    "procedures": "40614be67cea9631",
    "steps": "565a1f189edd94e1",
}


def lines(problem: Problem) -> list[str]:
    """The reference solution."""
    return problem.secret.solution.split("\n")


def fingerprint(family: str) -> str:
    """A short hash of the first problems of both splits at every level."""
    text = ""
    for level in (0, *LEVELS):
        task = load(family, level=level, seed=3)
        for split in ("train", "test"):
            text += "".join(
                task.problem(split, i).prompt + task.problem(split, i).secret.solution for i in range(5)
            )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("family", FAMILIES)
def test_problems_never_change(family: str) -> None:
    assert fingerprint(family) == GOLDEN[family]


def test_draws_never_change() -> None:
    draw = Draw("x", 1)
    assert [draw.below(1000) for _ in range(4)] == [558, 55, 39, 736]


@pytest.mark.parametrize("family", FAMILIES)
def test_splits_are_disjoint(family: str) -> None:
    seen: dict[str, set[str]] = {"train": set(), "test": set()}
    for level in LEVELS:
        task = load(family, level=level)
        for split, found in seen.items():
            found |= {task.problem(split, i).prompt for i in range(300)}
    assert len(seen["train"]) > 1500
    assert not seen["train"] & seen["test"]


def test_split_ignores_order_of_numbers() -> None:
    for level in (1, 4):
        for split in ("train", "test"):
            for i in range(200):
                data = load("countdown", level=level).problem(split, i).secret.data
                assert split_of("countdown", f"{data['target']} {sorted(data['numbers'])}") == split


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", (0, *LEVELS))
def test_reference_passes(family: str, level: int) -> None:
    task = load(family, level=level)
    for split in ("train", "test"):
        for i in range(40):
            problem = task.problem(split, i)
            assert task.check(problem, problem.secret.reference)
            assert all(task.check_steps(problem, lines(problem)))
            assert lines(problem)[-1] == f"A: {problem.secret.reference}"


@pytest.mark.parametrize("family", FAMILIES)
def test_problem_knows_its_place(family: str) -> None:
    task = load(family, level=2)
    problem = task.problem("test", 7)
    assert (problem.id, problem.level, problem.task) == (f"{family}/2/test/7", 2, task)
    assert isinstance(task, Task)
    assert {load(family, level=0).problem("train", i).level for i in range(200)} == set(LEVELS)
    assert problem.secret.reference not in repr(problem).replace(problem.prompt, "")


@pytest.mark.parametrize("family", FAMILIES)
def test_bad_values(family: str) -> None:
    for level in (-1, 9, True, "2"):
        with pytest.raises(ValueError, match=r"1\.\.8"):
            load(family, level=level)
    task = load(family)
    with pytest.raises(ValueError, match="'train' or 'test'"):
        task.problem("dev", 0)
    for index in (-1, 1.5, True):
        with pytest.raises(ValueError, match="from 0 up"):
            task.problem("test", index)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", (2, 5, 8))
def test_planted_error_is_found_at_its_line(family: str, level: int) -> None:
    task = load(family, level=level)
    for i in range(25):
        problem = task.problem("test", i)
        good = lines(problem)
        for at in range(len(good) - 1):
            bad = [*good[:at], spoil(good[at]), *good[at + 1 :]]
            verdict = task.check_steps(problem, bad)
            assert verdict[:at] == [True] * at
            assert not verdict[at], (problem.prompt, bad)


def spoil(line: str) -> str:
    """The line with its last sign changed to one that is surely wrong."""
    last = line[-1]
    return line[:-1] + (str((int(last) + 1) % 10) if last.isdigit() else "z" if last != "z" else "y") + "0"


@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_line_does_not_hide_right_lines_before_or_crash_later(family: str) -> None:
    task = load(family, level=5)
    problem = task.problem("train", 1)
    good = lines(problem)
    verdict = task.check_steps(problem, ["rubbish", *good] if family != "procedures" else [*good, "rubbish"])
    assert verdict.count(False) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_unfinished_and_empty(family: str) -> None:
    task = load(family, level=4)
    problem = task.problem("train", 0)
    assert task.check_steps(problem, []) == []
    assert all(task.check_steps(problem, lines(problem)[:2]))
    assert not task.check(problem, None)
    assert not task.check(problem, "")
    assert task.check_steps(problem, ["A:"]) == [False]


HOSTILE = (
    "9" * 100_000,
    "(" * 100_000,
    "((((" * 60 + "1" + "))))" * 60,
    "9**9**9**9",
    "__import__('os').system('true')",
    "1/0",
    "(1 - 2) * (3 - 4)",
    "٣ + ٤",
    "²",
    "\x00",
    "🎉 " * 100,
    "-",
    "A: A: A:",
    "a" * 399,
    " \u2003 ",
    "1e999",
    "0x10",
    "1_000",
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", (1, 8))
def test_hostile_answers(family: str, level: int) -> None:
    task = load(family, level=level)
    problem = task.problem("test", 0)
    for text in HOSTILE:
        assert task.check(problem, text) is False
        assert task.check_steps(problem, [text, f"A: {text}"]) == [False, False]


@given(st.text(max_size=60), st.lists(st.text(alphabet=string.printable, max_size=40), max_size=6))
@settings(max_examples=150, deadline=None)
def test_any_text_is_judged(answer: str, steps: list[str]) -> None:
    for family in FAMILIES:
        task = load(family, level=3)
        problem = task.problem("train", 5)
        assert isinstance(task.check(problem, answer), bool)
        verdict = task.check_steps(problem, [*steps, f"A: {answer}"])
        assert len(verdict) == len(steps) + 1
        assert verdict[-1] == task.check(problem, answer)


@given(st.sampled_from(FAMILIES), st.integers(0, 8), st.integers(0, 10**9), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_any_problem_is_sound(family: str, level: int, index: int, seed: int) -> None:
    task = load(family, level=level, seed=seed)
    problem = task.problem("train", index)
    assert problem == task.problem("train", index)
    assert all(task.check_steps(problem, lines(problem)))
    assert problem.prompt.isascii() and "\n" not in problem.prompt


def test_names_and_load() -> None:
    assert set(FAMILIES) | {"gsm8k", "math500"} <= set(names())
    assert names() == sorted(names())
    with pytest.raises(ValueError, match=r"countdown, .*did you mean 'steps'"):
        load("step")


def test_whole() -> None:
    assert (whole("1,204."), whole("-3"), whole("3.5"), whole("٣"), whole(None)) == (
        1204,
        -3,
        None,
        None,
        None,
    )
