"""What a run concludes: numbers that follow from the records, a plot, a page that is safe to open."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_engine import FakeEngine, plan

from outthink.bench.conclude import conclude
from outthink.bench.files import to_json, write_whole
from outthink.bench.frontier import APART, _side_by_side, frontier
from outthink.bench.results import Results
from outthink.bench.runner import run
from outthink.bench.summary import Row, amount, differences, summarize


def row(strategy: str, written: float, accuracy: float) -> Row:
    return Row("steps()", strategy, 10, accuracy, 0.1, 0.9, written, 1, 1, 1, 1, 0)


def solved(folder: Path) -> list[dict]:
    with Results(folder, plan(n=40)) as results:
        return run(FakeEngine(), results)


def test_summary_is_counted_from_the_records(tmp_path: Path) -> None:
    records = solved(tmp_path)
    found = conclude(plan(n=40), records, tmp_path)
    listed = json.loads(found.summary.read_text())
    assert [(r["task"], r["strategy"], r["n"]) for r in listed] == [
        (task, strategy, 40)
        for task in ("sums", "sums(level=2)")
        for strategy in ("guess(n=1)", "guess(n=8)")
    ]
    own = [r for r in records if (r["task"], r["strategy"]) == ("sums", "guess(n=1)")]
    assert listed[0]["accuracy"] == sum(r["correct"] for r in own) / 40
    assert listed[0]["low"] < listed[0]["accuracy"] < listed[0]["high"]
    assert listed[1]["written"] == 160 and listed[1]["passes"] == 20


def test_differences_are_paired_by_problem(tmp_path: Path) -> None:
    records = solved(tmp_path)
    rows = summarize(records)
    [first, second] = differences(records)
    assert (first.strategy, first.baseline, second.task) == ("guess(n=8)", "guess(n=1)", "sums(level=2)")
    assert first.difference == pytest.approx(rows[1].accuracy - rows[0].accuracy)
    assert 0 < first.low <= first.difference <= first.high


def test_the_plot_is_a_png_and_the_page_holds_it(tmp_path: Path) -> None:
    found = conclude(plan(n=40), solved(tmp_path), tmp_path)
    assert found.plot.read_bytes().startswith(b"\x89PNG")
    assert found.report.read_text().count("data:image/png;base64,") == 2


class Tags(HTMLParser):
    """Collects what a page opens and does not close, and what it fetches."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_else(tmp_path: Path) -> None:
    page = conclude(plan(n=40), solved(tmp_path), tmp_path).report.read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(link.startswith("data:") for link in tags.links)


def test_what_a_model_wrote_is_escaped(tmp_path: Path) -> None:
    records = [
        {**r, "text": "<script>x()</script>", "final": '"><img src=x>', "correct": r["index"] % 2 == 0}
        for r in solved(tmp_path)
    ]
    named = replace(plan(n=40), model="<i>m</i>")
    page = conclude(named, records, tmp_path).report.read_text()
    assert "<script" not in page and "<img src=x" not in page and "<i>" not in page
    assert "&lt;script&gt;x()" in page and "0 &lt;+&gt; 1?" in page


def test_the_frontier_is_what_no_cheaper_row_equals() -> None:
    rows = [row("b", 20, 0.5), row("a", 10, 0.4), row("c", 30, 0.5), row("d", 40, 0.7), row("e", 40, 0.6)]
    assert [r.strategy for r in frontier(rows)] == ["a", "b", "d"]


def test_points_that_would_hide_one_another_stand_apart() -> None:
    rows = [row("a", 100, 0.4), row("b", 800, 0.4), row("c", 801, 0.4), row("d", 800, 0.4)]
    placed = sorted(_side_by_side(rows, (50, 1600)))
    assert placed[0] == 100
    step = 32**APART
    assert [b / a for a, b in zip(placed[1:], placed[2:], strict=False)] == pytest.approx([step, step])


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (3.14159, "3.14"),
        (812.4, "812"),
        (9999, "9999"),
        (12345, "12.3k"),
        (2e6, "2M"),
        (3.25e12, "3.25T"),
    ],
)
def test_amounts_are_short(value: float, text: str) -> None:
    assert amount(value) == text


def test_json_has_no_infinities_and_survives_odd_text() -> None:
    odd = {"a": float("inf"), "b": [float("nan"), "\udcff"], "c": (1, None)}
    assert json.loads(to_json(odd)) == {"a": None, "b": [None, "\udcff"], "c": [1, None]}
    assert re.fullmatch(r"[ -~]+", to_json(odd))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_whole(path, b"old")

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("outthink.bench.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
