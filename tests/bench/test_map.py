"""A map over a dataset: whole, resumable, killed at any moment, nothing answered twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from outthink import cli
from outthink.bench.dataset import Dataset
from outthink.bench.journal import Journal
from outthink.core.errors import BadInput
from outthink.testing.endpoint import Endpoint, Powers, Refusal, Served, writes

ROOT = Path(__file__).resolve().parents[2]


def double(question: str) -> Mapping[str, float]:
    """Twice the number in the question."""
    digits = "".join(c for c in question if c.isdigit())
    return {f"A: {2 * int(digits)}\n": 1.0} if digits else {"One. Two. Three.": 0.6, "Two. One.": 0.4}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint(writes(double)) as made:
        yield made


def write_dataset(path: Path, count: int) -> Path:
    lines = [json.dumps({"q": f"Twice {i}?", "a": 2 * i, "id": f"p{i}"}) for i in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def words(file: Path, out: Path, endpoint: Endpoint, *more: str) -> list[str]:
    given = [
        "map",
        str(file),
        "--out",
        str(out),
        "--model",
        endpoint.spec,
        "--prompt",
        "q",
        "--reference",
        "a",
    ]
    return [*given, "--strategy", "once", *more]


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def asked(endpoint: Endpoint) -> list[str]:
    """The questions that reached the endpoint, the probe's own left out."""
    questions = [s.body["messages"][0]["content"] for s in endpoint.texts if "messages" in s.body]
    return [q for q in questions if q.startswith("Twice")]


def test_every_line_is_answered_in_order(endpoint: Endpoint, tmp_path: Path, capsys: Any) -> None:
    file = write_dataset(tmp_path / "in.jsonl", 20)
    assert cli.run(words(file, tmp_path / "out", endpoint, "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["lines"], told["done"], told["failed"]) == (20, 20, 0)
    found = records(tmp_path / "out")
    assert [r["id"] for r in found] == [f"p{i}" for i in range(20)]
    assert all(r["correct"] and r["final"] == str(2 * i) for i, r in enumerate(found))
    assert all(r["receipt"]["logical"]["written"] == len(r["text"]) + 1 for r in found)
    assert sorted(asked(endpoint)) == sorted(r["prompt"] for r in found)


def test_a_second_run_asks_nothing_and_appended_lines_are_done(endpoint: Endpoint, tmp_path: Path) -> None:
    file, out = write_dataset(tmp_path / "in.jsonl", 5), tmp_path / "out"
    assert cli.run(words(file, out, endpoint)) == 0
    assert cli.run(words(file, out, endpoint)) == 0
    assert len(asked(endpoint)) == 5
    write_dataset(file, 8)
    assert cli.run(words(file, out, endpoint)) == 0
    assert len(asked(endpoint)) == 8 and len(records(out)) == 8


def test_equal_prompts_are_problems_of_their_own(endpoint: Endpoint, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"q": "Twice 4?", "a": 8}\n\n{"q": "Twice 4?", "a": 9}\n')
    assert cli.run(words(file, tmp_path / "out", endpoint)) == 0
    found = records(tmp_path / "out")
    assert [(r["line"], r["correct"]) for r in found] == [(1, True), (3, False)]
    assert found[0]["seed"] != found[1]["seed"]


@pytest.mark.parametrize("after", [3, 24])
def test_killed_at_any_time_it_goes_on_and_repeats_nothing(
    endpoint: Endpoint, tmp_path: Path, after: int
) -> None:
    """After kill -9 with so many answers in the journal, at most `concurrency` problems are asked twice."""
    file, out = write_dataset(tmp_path / "in.jsonl", 40), tmp_path / "out"
    command = words(file, out, endpoint, "--concurrency", "4")
    endpoint.powers = Powers(per_token=0.004)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen([sys.executable, "-m", "outthink", *command], env=environment)
    until = time.monotonic() + 60
    while time.monotonic() < until and _done(out) < after and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL, "it ended before it was killed"
    endpoint.powers = Powers()
    kept = _done(out)
    assert after <= kept < 40
    answered = set(asked(endpoint))
    assert cli.run(command) == 0
    found = records(out)
    assert [r["final"] for r in found] == [str(2 * i) for i in range(40)]
    twice = [r["prompt"] for r in found if r["begun"] == 2]
    questions = asked(endpoint)
    assert len(twice) <= 4 and all(r["begun"] in (1, 2) for r in found)
    assert all(questions.count(q) == 1 for q in set(questions) - set(twice))
    assert kept <= len(answered) <= kept + 4


def _done(out: Path) -> int:
    """How many answers another process has in its journal."""
    try:
        with sqlite3.connect(f"file:{out / 'journal.sqlite'}?mode=ro", uri=True) as base:
            count = base.execute("SELECT count(*) FROM results WHERE state = 'done'").fetchone()[0]
        base.close()
        return int(count)
    except sqlite3.Error:
        return 0


def test_what_an_endpoint_failed_is_tried_again_by_the_next_run(endpoint: Endpoint, tmp_path: Path) -> None:
    file, out = write_dataset(tmp_path / "in.jsonl", 6), tmp_path / "out"

    def refuse(served: Served) -> Refusal | None:
        bad = "Twice 3?" in json.dumps(served.body)
        return Refusal(400, "no such question") if bad else None

    endpoint.fail = refuse
    assert cli.run(words(file, out, endpoint)) == 0
    [failed] = [r for r in records(out) if r["error"]]
    assert failed["id"] == "p3" and failed["state"] == "failed" and "no such question" in failed["error"]
    endpoint.fail = lambda served: None
    assert cli.run(words(file, out, endpoint)) == 0
    assert [r["final"] for r in records(out)] == [str(2 * i) for i in range(6)]
    assert asked(endpoint).count("Twice 1?") == 1


def test_a_run_that_only_fails_stops(endpoint: Endpoint, tmp_path: Path, capsys: Any) -> None:
    file = write_dataset(tmp_path / "in.jsonl", 60)
    endpoint.fail = lambda served: Refusal(400, "never") if "Twice" in json.dumps(served.body) else None
    assert cli.run(words(file, tmp_path / "out", endpoint, "--concurrency", "2")) == 2
    assert "stopped after 8 failures in a row" in capsys.readouterr().err
    assert len(asked(endpoint)) <= 10


def test_another_configuration_or_a_changed_line_is_refused(
    endpoint: Endpoint, tmp_path: Path, capsys: Any
) -> None:
    file, out = write_dataset(tmp_path / "in.jsonl", 3), tmp_path / "out"
    assert cli.run(words(file, out, endpoint)) == 0
    for more, said in ((("--seed", "7"), "seed=0, now 7"), (("--strategy", "greedy"), "now 'greedy'")):
        assert cli.run(words(file, out, endpoint, *more)) == 2
        assert said in capsys.readouterr().err
    file.write_text(file.read_text().replace("Twice 1?", "Twice 11?"))
    assert cli.run(words(file, out, endpoint)) == 2
    assert "line 2 has changed" in capsys.readouterr().err
    assert len(asked(endpoint)) == 3


def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path, {"a": 1}), pytest.raises(BadInput, match="another process works"):
        Journal(tmp_path, {"a": 1})


def test_a_line_ends_once(tmp_path: Path) -> None:
    with Journal(tmp_path, {}) as journal:
        journal.begin(1, "x")
        journal.end(1, {"final": "1"}, is_final=True)
        with pytest.raises(AssertionError, match="ended twice"):
            journal.end(1, {"final": "2"}, is_final=True)
        assert [r["final"] for r in journal.records()] == ["1"]


def test_parquet_holds_what_the_lines_hold(endpoint: Endpoint, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    file, out = write_dataset(tmp_path / "in.jsonl", 4), tmp_path / "out"
    assert cli.run(words(file, out, endpoint, "--parquet")) == 0
    rows = parquet.read_table(out / "results.parquet").to_pylist()
    found = records(out)
    assert [r["final"] for r in rows] == [r["final"] for r in found]
    assert [r["logical_written"] for r in rows] == [r["receipt"]["logical"]["written"] for r in found]


def test_parquet_without_pyarrow_is_refused_before_a_token(
    endpoint: Endpoint, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    file = write_dataset(tmp_path / "in.jsonl", 2)
    assert cli.run(words(file, tmp_path / "out", endpoint, "--parquet")) == 2
    assert "pip install 'outthink[parquet]'" in capsys.readouterr().err and not endpoint.log


BAD = [
    ("{", "line 1 is no JSON"),
    ("[1]", "no JSON object"),
    ('{"p": "x"}', "no text in 'q'; give another field with --prompt. There are: p"),
    ('{"q": " "}', "the prompt is empty"),
    ('{"q": "x"}', "no text in 'a'"),
]


@pytest.mark.parametrize(("line", "said"), BAD)
def test_a_bad_line_is_named_before_a_token_is_spent(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "in.jsonl").write_text(line + "\n")
    with pytest.raises(BadInput, match=said):
        list(Dataset(str(tmp_path / "in.jsonl"), "q", "a"))


def test_a_local_model_maps_too(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"prompt": "What is 2 + 3?"}\n')
    given = ["map", str(file), "--out", str(tmp_path / "out"), "--max-tokens", "8", "--model", "pocket-mini"]
    assert cli.run(given) == 0
    assert records(tmp_path / "out")[0]["receipt"]["best_effort"] is False
