"""What is drawn while a run goes on, and the tree that is drawn after it."""

from __future__ import annotations

import threading
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from outthink.bench.plan import Pair, Plan
from outthink.cli.drawing import Knot, Leaf, Recorder, draw, merge
from outthink.cli.live import LiveText
from outthink.cli.progress import Progress, clock
from outthink.core.types import Answer, Sampling
from outthink.engine.trace import PassInfo


def screen(width: int = 60, is_terminal: bool = True) -> Console:
    return Console(file=StringIO(), force_terminal=is_terminal, width=width, height=12, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


class FakeBranch:
    """A branch whose tokens are letters."""

    def __init__(self, *path: int) -> None:
        self.path = path
        self.tokens: list[int] = []
        self.place = SimpleNamespace(eos={0}, tokenizer=SimpleNamespace(decode=decode))

    def text(self) -> str:
        return decode(self.tokens)

    def write(self, trace: Any, text: str) -> None:
        for letter in text:
            self.tokens.append(ord(letter) if letter != "$" else 0)
            trace.wrote(self, [self.tokens[-1]])


def decode(tokens: list[int]) -> str:
    return "".join(chr(t) for t in tokens if t)


def test_one_branch_shows_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outthink.cli.live.EVERY", 0.0)
    console, branch = screen(), FakeBranch()
    with LiveText(console, "greedy") as live:
        branch.write(live, "one\ntwo\x1b")
    assert "one\n" in shown(console).replace(" ", "") and "two␛" in shown(console)


def test_each_branch_has_a_line_with_the_end_of_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outthink.cli.live.EVERY", 0.0)
    console = screen(width=40)
    branches = [FakeBranch(i) for i in range(3)]
    with LiveText(console, "vote(n=3)") as live:
        for branch in branches:
            branch.write(live, "a" * 50 + f"\nend {branch.path[0]}")
        branches[0].write(live, "$")
        live.closed(branches[1], "killed")
    text = shown(console)
    assert "• 2" in text and "…aaaa" in text and "| end 2" in text
    assert "✓ 0" in text and "3 branches, 1 ended" in text


def test_pictures_are_few_and_need_no_thread() -> None:
    console, branch, threads = screen(), FakeBranch(), threading.active_count()
    with LiveText(console, "greedy") as live:
        branch.write(live, "x" * 5000)
        assert threading.active_count() == threads
    assert shown(console).count("tokens/s") < 50


def test_nothing_is_drawn_where_there_is_no_terminal() -> None:
    console, branch = screen(is_terminal=False), FakeBranch()
    with LiveText(console, "greedy") as live:
        branch.write(live, "text")
    assert shown(console) == ""


class Always:
    name, statement = "always", ""

    def problem(self, split: str, index: int) -> None: ...


def progress(console: Console, before: int = 0) -> Progress:
    plan = Plan({"a": Always()}, {"s": None, "t": None}, n=4, sampling=Sampling())  # type: ignore[dict-item]
    done = {Pair("a", "s", i): record(i, True) for i in range(before)}
    return Progress(console, plan, done, concurrency=2)


def record(index: int, correct: bool, error: str | None = None) -> dict[str, Any]:
    return {
        "task": "a",
        "strategy": "s",
        "index": index,
        "id": f"a/{index}",
        "correct": correct,
        "error": error,
    }


def test_progress_counts_and_shows_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outthink.cli.progress.EVERY", 0.0)
    console = screen(width=100)
    with progress(console, before=1) as bar:
        bar.heard(record(1, False))
        bar.passed(PassInfo("m", 8, 8, 0, 0.0, 0.0))
    assert "2/4" in shown(console) and "50 % right" in shown(console) and "2/8 answers" in shown(console)


def test_a_problem_that_could_not_be_asked_is_said() -> None:
    console = screen(is_terminal=False)
    with progress(console) as bar:
        bar.heard(record(0, False, "the prompt is too long"))
    assert "a/0: the prompt is too long" in shown(console)


@pytest.mark.parametrize("seconds, text", [(0.4, "0:00"), (61, "1:01"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_what_is_shared_is_one_knot() -> None:
    leaves = [Leaf((i,), list(map(ord, text))) for i, text in enumerate(("abcd", "abce", "abce", "ab", "x"))]
    [ab, x] = merge(leaves)
    assert decode(ab.tokens) == "ab" and [leaf.path for leaf in ab.ending] == [(3,)]
    [c] = ab.below
    assert decode(c.tokens) == "c"
    found = [(decode(knot.tokens), [leaf.path for leaf in knot.ending]) for knot in c.below]
    assert found == [("d", [(0,)]), ("e", [(1,), (2,)])]
    assert decode(x.tokens) == "x"


def flat(knots: list[Knot], before: tuple[int, ...] = ()) -> dict[tuple[int, ...], list[int]]:
    """Every leaf's tokens, read back from the tree."""
    found: dict[tuple[int, ...], list[int]] = {}
    for knot in knots:
        here = (*before, *knot.tokens)
        found |= {leaf.path: list(here) for leaf in knot.ending} | flat(knot.below, here)
    return found


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=8))
def test_the_tree_holds_every_branch_and_siblings_part_at_once(texts: list[list[int]]) -> None:
    knots = merge([Leaf((i,), tokens) for i, tokens in enumerate(texts)])
    assert flat(knots) == {(i,): tokens for i, tokens in enumerate(texts)}

    def check(siblings: list[Knot]) -> None:
        assert len({knot.tokens[0] for knot in siblings}) == len(siblings)
        for knot in siblings:
            assert knot.ending or len(knot.below) > 1
            check(knot.below)

    check(knots)


def recorded() -> tuple[Recorder, Answer]:
    record = Recorder()
    record.started(SimpleNamespace(problem=SimpleNamespace(prompt="2 + 2?")))  # type: ignore[arg-type]
    branches = [FakeBranch(i) for i in range(4)]
    for branch, text in zip(branches, ("x\nA: 4", "y\nA: 4", "y\nA: 5", "z"), strict=True):
        branch.write(record, text)
    record.closed(branches[3], "killed")  # type: ignore[arg-type]
    answer = Answer("x\nA: 4", "4", 0.9, others=(Answer("y\nA: 4", "4", 0.5), Answer("y\nA: 5", "5", 0.1)))
    record.ended(None, answer)  # type: ignore[arg-type]
    return record, answer


def test_the_tree_says_who_won_agreed_lost_and_was_killed() -> None:
    console = screen(width=80)
    console.print(draw(*recorded()))
    text = shown(console)
    assert "★ won  branch 0: 6 tokens, answer 4, score 0.9" in text
    assert "✓ agrees  branch 1: 6 tokens, answer 4, score 0.5" in text
    assert "· differs  branch 2: 6 tokens, answer 5, score 0.1" in text
    assert "✗ killed  branch 3: 1 tokens, answer none" in text
    assert text.count("2 + 2?") == 1 and "5 tokens shared" in text


def test_tokens_before_a_rewind_are_kept_under_their_path() -> None:
    record, branch = Recorder(), FakeBranch(0)
    branch.write(record, "ab")
    branch.tokens, branch.path = branch.tokens[:1], (0, 0)
    branch.write(record, "c")
    assert {leaf.path: decode(leaf.tokens) for leaf in record.finished()} == {(0,): "ab", (0, 0): "ac"}
