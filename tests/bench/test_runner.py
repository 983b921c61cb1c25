"""A bench run writes each answer once, survives being killed at any place, and ends the same."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Done, FakeEngine, plan

from outthink.bench.conclude import conclude
from outthink.bench.plan import seed_of
from outthink.bench.results import Results, read
from outthink.bench.runner import run
from outthink.core.errors import BadInput


def complete(
    folder: Path, engine: FakeEngine | None = None, resume: bool = False, **given: Any
) -> list[dict]:
    with Results(folder, plan(**given), resume=resume) as results:
        return run(engine or FakeEngine(), results, concurrency=5)


def without_times(records: list[dict]) -> list[dict]:
    return [{**r, "receipt": r["receipt"]["logical"]} for r in records]


class Stop(Exception):
    """Stands for a kill."""


def stop_at(number: int):
    def before(count: int) -> None:
        if count == number:
            raise Stop

    return FakeEngine(before)


def test_a_line_for_each_pair_in_the_plans_order(tmp_path: Path) -> None:
    records = complete(tmp_path)
    written = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert written == json.loads(json.dumps(records))
    keys = [(r["task"], r["strategy"], r["index"]) for r in written]
    tasks, strategies = ("sums", "sums(level=2)"), ("guess(n=1)", "guess(n=8)")
    assert keys == [(t, s, i) for t in tasks for s in strategies for i in range(12)]
    assert {"id", "seed", "final", "correct", "text", "score", "finish", "tokens", "receipt"} <= set(
        written[0]
    )
    assert json.loads((tmp_path / "bench.json").read_text())["strategies"] == ["guess(n=1)", "guess(n=8)"]


def test_strategies_share_the_seed_of_a_problem(tmp_path: Path) -> None:
    seeds: dict[str, set[int]] = {}
    for record in complete(tmp_path, levels=(1,)):
        seeds.setdefault(record["id"], set()).add(record["seed"])
    assert all(len(found) == 1 for found in seeds.values())
    assert len({next(iter(found)) for found in seeds.values()}) == 12


def test_another_seed_gives_other_seeds() -> None:
    pair, task, _ = next(plan().pairs())
    assert seed_of(0, task.problem("test", 0), pair) != seed_of(1, task.problem("test", 0), pair)


@pytest.mark.parametrize("number", [0, 1, 17, 47])
@pytest.mark.parametrize("torn", [b"", b'{"task": "sums", "strat'])
def test_resuming_ends_with_the_same_content(tmp_path: Path, number: int, torn: bytes) -> None:
    whole = complete(tmp_path / "whole")
    cut = tmp_path / "cut"
    with pytest.raises(Stop):
        complete(cut, stop_at(number))
    with (cut / "results.jsonl").open("ab") as file:
        file.write(torn)
    second = FakeEngine()
    records = complete(cut, second, resume=True)
    assert len(second.asked) == 48 - number
    assert without_times(records) == without_times(whole) == without_times(read(cut / "results.jsonl"))


def test_resuming_a_finished_run_asks_nothing(tmp_path: Path) -> None:
    before = complete(tmp_path)
    engine = FakeEngine()
    assert complete(tmp_path, engine, resume=True) == json.loads(json.dumps(before))
    assert not engine.asked


def test_a_finished_run_is_not_written_over(tmp_path: Path) -> None:
    complete(tmp_path)
    before = (tmp_path / "results.jsonl").read_bytes()
    with pytest.raises(BadInput, match="holds a run already: add --resume"):
        complete(tmp_path)
    assert (tmp_path / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize("other", [{"n": 13}, {"seed": 1}, {"sizes": (1, 4)}, {"levels": (1,)}])
def test_another_configuration_is_not_resumed(tmp_path: Path, other: dict) -> None:
    complete(tmp_path)
    with pytest.raises(BadInput, match="cannot resume in .* it was begun with"):
        complete(tmp_path, resume=True, **other)


@pytest.mark.parametrize("content", [b"[1]\n", b"nonsense\n", b'{"task": "sums"}\n'])
def test_a_file_that_is_no_results_is_not_resumed(tmp_path: Path, content: bytes) -> None:
    complete(tmp_path)
    (tmp_path / "results.jsonl").write_bytes(content)
    with pytest.raises(BadInput, match="line 1 is no result of a bench run"):
        complete(tmp_path, resume=True)


def test_conclusions_of_an_earlier_run_do_not_outlive_its_results(tmp_path: Path) -> None:
    records = complete(tmp_path)
    conclude(plan(), records, tmp_path)
    with pytest.raises(Stop), Results(tmp_path, plan(), overwrite=True) as results:
        run(stop_at(3), results)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bench.json", "results.jsonl"]


def test_ctrl_c_keeps_every_answer_and_a_valid_file(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background

    def interrupt(count: int) -> None:
        if count == 9:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        complete(tmp_path, FakeEngine(interrupt))
    assert len(read(tmp_path / "results.jsonl")) == 9
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_a_line_is_written_waits_for_it(tmp_path: Path) -> None:
    heard: list[dict] = []

    def listen(record: dict) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        heard.append(record)

    with pytest.raises(KeyboardInterrupt), Results(tmp_path, plan()) as results:
        run(FakeEngine(), results, listen=listen)
    assert len(heard) == len(read(tmp_path / "results.jsonl")) == 1


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, left = os.write, [2000]

    def limited(file: int, content: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        taken = write(file, content[: left[0]])
        left[0] -= taken
        return taken

    monkeypatch.setattr("outthink.bench.results.os.write", limited)
    with pytest.raises(OSError, match="No space left"):
        complete(tmp_path)
    monkeypatch.undo()
    content = (tmp_path / "results.jsonl").read_bytes()
    assert content.endswith(b"}\n") and len(content) < 2000
    assert len(complete(tmp_path, resume=True)) == 48


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot write into"):
        complete(tmp_path / "file" / "run")


def test_a_problem_that_does_not_fit_counts_as_wrong_and_is_said(tmp_path: Path) -> None:
    records = complete(tmp_path, FakeEngine(too_long=True))
    failed = [r for r in records if r["error"]]
    assert {r["index"] for r in failed} == {7} and len(failed) == 4
    assert not any(r["correct"] for r in failed) and failed[0]["finish"] == "error"
    assert [row.errors for row in conclude(plan(), records, tmp_path).rows] == [1, 1, 1, 1]


def test_an_error_of_the_run_ends_it(tmp_path: Path) -> None:
    class Broken(FakeEngine):
        def map(self, requests, concurrency=32):
            yield Done(next(iter(requests)), None, ZeroDivisionError("a strategy's own"))

    with pytest.raises(ZeroDivisionError):
        complete(tmp_path, Broken())


def test_requests_are_pulled_as_they_are_needed(tmp_path: Path) -> None:
    engine = FakeEngine()
    complete(tmp_path, engine)
    assert engine.asked[0].tag.pair.index <= 1


@pytest.mark.parametrize(
    "given, words",
    [
        ({"n": 0}, "n=0: give at least 1"),
        ({"n": 1001}, "past the last"),
        ({"sizes": ()}, "at least one task and one strategy"),
    ],
)
def test_plans_that_cannot_be(given: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan(**given)


def test_a_plan_pairs_problems_side_by_side() -> None:
    first = [pair.index for pair, _, _ in plan(n=3, levels=(1,)).pairs()]
    assert first == [0, 0, 1, 1, 2, 2]
