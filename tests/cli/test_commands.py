"""What the commands print, for people and for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from conftest import Run
from rich.console import Console

import outthink as ot
from outthink.bench import summary
from outthink.bench.summary import Row
from outthink.cli.output import headlines, receipt_table, results_table, safe
from outthink.core.receipt import Cost, Receipt

SHORT = ("--max-tokens", "12")


def test_help_names_every_command(outthink: Run) -> None:
    ran = outthink("--help")
    assert ran.code == 0
    assert all(
        name in ran.out for name in ("solve", "bench", "explain", "demo", "tasks", "models", "methods")
    )
    assert outthink().out == ran.out


@pytest.mark.parametrize("command", ["solve", "bench", "explain", "demo", "tasks", "models", "methods"])
def test_every_command_has_help_and_json(outthink: Run, command: str) -> None:
    ran = outthink(command, "--help")
    assert ran.code == 0 and "--json" in ran.out


def test_help_says_defaults_that_are_no_values(outthink: Run) -> None:
    said = outthink("bench", "--help").out
    assert "[default: steps]" in said and "[default: 0.8]" in said and "[default: measured]" in said


def test_the_version(outthink: Run) -> None:
    assert outthink("--version").out.split() == ["outthink", ot.__version__]


RECEIPT = Receipt(
    Cost(written=340, read=36, positions=300, flops=2.89e9, discarded=12, verified=8),
    Cost(
        written=340, positions=300, passes=265, flops=2.89e9, seconds=0.0921, verified=8, cache_bytes=1.84e6
    ),
    by_scope={"run/verify": Cost(verified=8)},
)


@pytest.mark.parametrize("width", [44, 60, 80, 120])
def test_no_number_of_a_receipt_is_cut(width: int) -> None:
    out = Console(file=StringIO(), width=width)
    out.print(receipt_table(RECEIPT, width))
    shown = out.file.getvalue().split()  # type: ignore[attr-defined]
    wanted = ["written", "positions", "discarded", "verified", "asked", "2.89G", "1.84MB", "0.0921"]
    assert [word for word in wanted if word not in shown] == []


@pytest.mark.parametrize("width", [40, 60, 80, 84, 120])
def test_a_narrow_table_of_results_has_fewer_columns(width: int) -> None:
    strategy = "best_of_n(n=8, verifier=steps())"
    row = Row("steps()", strategy, 200, 0.625, 0.55, 0.69, 340, 300, 265, 0.1, 2.89e9, 0)
    out = Console(file=StringIO(), width=width)
    out.print(results_table([row], (), width))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "62.5 %" in text and "55 to 69" in text
    assert ("2.89G" in text, "vs first" in text) == (width >= 120, width >= 60)
    assert (strategy in text) == (width >= 84)  # names are broken only where more than two columns are gone


@pytest.mark.parametrize("width", [40, 60, 70, 80, 88, 120])
def test_a_table_says_tokens_and_seconds_together_or_neither(width: int) -> None:
    """Fewer samples may take longer: who reads one number must see the other."""
    rows = [
        Row("t", "vote", 9, 0.5, 0, 1, 3456, 1, 1, 11.5, 1, 0),
        Row("t", "few", 9, 0.5, 0, 1, 789, 1, 1, 23.25, 1, 0),
    ]
    out = Console(file=StringIO(), width=width)
    out.print(results_table(rows, (), width))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    shown = [word in text for word in ("written", "3456", "789", "sec", "11.5", "23.2")]
    assert len(set(shown)) == 1 and shown[0] == (width >= 70)
    titles = [title for title, _ in summary.COLUMNS]  # of the report
    assert titles.count("written") == titles.count("seconds") == 1


def test_solve_prints_the_answer_and_its_receipt(outthink: Run, model: str) -> None:
    ran = outthink("solve", "2 + 2?", "--model", model, *SHORT)
    assert ran.code == 0 and ran.err == ""
    assert "answer" in ran.out and "written" in ran.out and "greedy" in ran.out


def test_solve_as_json_is_one_object(outthink: Run, model: str) -> None:
    ran = outthink(
        "solve", "2 + 2?", "--model", model, "--strategy", "vote(n=3)", "--seed", "1", "--json", *SHORT
    )
    assert list(ran.json) == ["text", "final", "score", "finish", "estimates", "receipt"]
    receipt = ran.json["receipt"]
    assert (receipt["config"], receipt["seed"]) == ("vote(n=3)", 1)
    assert receipt["logical"]["written"] == 36


def test_a_temperature_that_does_nothing_is_told(outthink: Run, model: str) -> None:
    hot = ("solve", "2 + 2?", "--model", model, "--temperature", "0.7", *SHORT)
    assert "greedy has no temperature" in outthink(*hot).err
    assert outthink(*hot, "--strategy", "vote(n=2)").err == ""


def test_the_same_seed_gives_the_same_answer(outthink: Run, model: str) -> None:
    given = ("solve", "2 + 2?", "--model", model, "--strategy", "sample", "--json", *SHORT)
    texts = [outthink(*given, "--seed", seed).json["text"] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("batch", ["1", "3"])
def test_the_batch_does_not_change_the_answer(outthink: Run, model: str, batch: str) -> None:
    given = ("solve", "2 + 2?", "--model", model, "--strategy", "vote(n=4)", "--json", *SHORT)
    assert outthink(*given, "--max-batch", batch).json["text"] == outthink(*given).json["text"]


def test_solve_reads_a_task(outthink: Run, model: str) -> None:
    ran = outthink(
        "solve", "--task", "steps", "--level", "1", "--index", "2", "--model", model, "--json", *SHORT
    )
    assert ran.code == 0 and ran.json["receipt"]["logical"]["read"] > 40


def test_solve_reads_stdin(
    outthink: Run, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "question").write_text("Größe?", encoding="utf-8")
    with (tmp_path / "question").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        ran = outthink("solve", "-", "--model", model, "--json", *SHORT)
    assert ran.code == 0 and ran.json["receipt"]["logical"]["written"] > 0


def test_a_budget_of_one_token_works_and_says_so(outthink: Run, model: str) -> None:
    ran = outthink("solve", "2 + 2?", "--model", model, "--budget", "written=1", "--json")
    assert ran.code == 0
    assert ran.json["finish"].startswith("budget: written=1")
    assert ran.json["receipt"]["logical"]["written"] == 1


def test_a_stop_text_ends_the_answer(outthink: Run, model: str) -> None:
    given = ("solve", "2 + 2?", "--model", model, "--json", *SHORT)
    text = outthink(*given).json["text"]
    cut = outthink(*given, "--stop", text[3]).json
    assert cut["finish"] == "stop" and text[3] not in cut["text"] and text.startswith(cut["text"])


def test_explain_draws_what_is_shared_once(outthink: Run, model: str) -> None:
    given = ("explain", "2 + 2?", "--model", model, "--strategy", "vote(n=4)", "--temperature", "0.3", *SHORT)
    ran = outthink(*given)
    assert ran.code == 0 and ran.out.count("2 + 2?") == 1
    assert all(f"branch {i}:" in ran.out for i in range(4))
    assert ran.out.count("★ won") >= 1


def test_explain_as_json_has_every_branch(outthink: Run, model: str) -> None:
    ran = outthink("explain", "2 + 2?", "--model", model, "--strategy", "vote(n=4)", "--json", *SHORT)
    assert [leaf["path"] for leaf in ran.json["tree"]] == [[0], [1], [2], [3]]
    assert ran.json["text"] in [leaf["text"] for leaf in ran.json["tree"]]


def test_tasks(outthink: Run) -> None:
    assert {"steps", "countdown", "paths", "procedures"} <= {
        t["name"] for t in outthink("tasks", "--json").json["tasks"]
    }
    assert "steps" in outthink("tasks").out
    one = outthink("tasks", "steps(level=2)", "--json").json
    assert (
        one["default"] == 2
        and one["example"]["solution"].splitlines()[-1] == f"A: {one['example']['reference']}"
    )
    shown = outthink("tasks", "steps").out
    assert "A worked solution" in shown and "A: " in shown


def test_methods(outthink: Run) -> None:
    found = outthink("methods", "--json").json
    by_name = {entry["name"]: entry for entry in found["strategies"]}
    assert by_name["vote"]["fields"][0] == "n=8" and by_name["vote"]["paper"] == "arXiv:2203.11171"
    assert {"exact", "steps", "likelihood", "certainty"} <= {entry["name"] for entry in found["verifiers"]}
    assert {"copy", "auto"} <= {entry["name"] for entry in found["drafters"]}
    assert {"match", "block"} <= {entry["name"] for entry in found["accept_rules"]}
    listed = outthink("methods").out
    assert "best_of_n" in listed and "prompt=..." in listed and "Here is a question" not in listed
    assert "Here is a question" in outthink("methods", "judge").out
    assert "argmax" in outthink("methods", "vote").out


def test_models(outthink: Run) -> None:
    found = outthink("models", "--json").json["models"]
    for entry in found:
        assert (Path(entry["directory"]) / "config.json").is_file() and entry["parameters"] > 0
    assert outthink("models").code == 0


def test_bench_writes_all_its_files(outthink: Run, model: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = (
        "bench",
        "--task",
        "steps,paths",
        "--level",
        "1",
        "--strategies",
        "greedy; vote(n=2)",
        "--n",
        "3",
    )
    ran = outthink(*given, "--model", model, "--out", str(out), "--json", *SHORT)
    assert ran.code == 0, ran.err
    names = ["bench.json", "frontier.png", "report.html", "results.jsonl", "summary.json"]
    assert sorted(p.name for p in out.iterdir()) == names
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    assert [(s["task"], s["strategy"]) for s in ran.json["summary"]] == [
        (task, strategy)
        for task in ("steps(level=1)", "paths(level=1)")
        for strategy in ("greedy", "vote(n=2)")
    ]
    assert ran.json["summary"] == json.loads((out / "summary.json").read_text())
    assert Path(ran.json["files"]["report"]) == out / "report.html"


def test_bench_shows_a_table_and_where_the_plot_is(outthink: Run, model: str, tmp_path: Path) -> None:
    given = ("bench", "--n", "2", "--strategies", "greedy; vote(n=2)", "--model", model)
    ran = outthink(*given, "--out", str(tmp_path / "run"), *SHORT)
    assert "right" in ran.out and "vote(n=2)" in ran.out and "frontier.png" in ran.out


def test_batch_and_concurrency_do_not_change_results(outthink: Run, model: str, tmp_path: Path) -> None:
    contents = []
    for number, more in enumerate((("--concurrency", "1"), ("--max-batch", "2"), ())):
        out = tmp_path / str(number)
        given = ("bench", "--n", "3", "--strategies", "sample; vote(n=3)", "--model", model, "--json", *SHORT)
        assert outthink(*given, "--out", str(out), *more).code == 0
        contents.append(_without_times(out))
    assert contents[0] == contents[1] == contents[2]


def test_solve_says_whether_a_tasks_answer_is_right(outthink: Run, model: str) -> None:
    ran = outthink("solve", "--task", "steps", "--model", model, *SHORT)
    assert "no answer found   wrong" in ran.out
    assert "wrong" not in outthink("solve", "2 + 2?", "--model", model, *SHORT).out


def test_headlines_say_what_is_gained_and_for_how_much() -> None:
    rows = [row("a", "greedy", 0.25, 50), row("a", "vote", 0.5, 400), row("a", "short", 0.5, 300, 4.0)]
    assert headlines(rows) == [
        "a: from 25.0 % to 50.0 % with short, for 6.0 times the tokens and 8.0 times the time"
    ]
    assert headlines([row("a", "greedy", 0.5, 50), row("a", "vote", 0.5, 400)]) == [
        "a: nothing here beats greedy"
    ]


def row(task: str, strategy: str, accuracy: float, written: float, seconds: float = 0.5) -> Row:
    return Row(task, strategy, 10, accuracy, 0, 1, written, 0, 0, seconds, 0, 0)


def test_control_characters_are_shown_not_obeyed() -> None:
    assert safe("a\x1b[2J\r\x7f\x9b\n\tb") == "a\u241b[2J\u240d\u2421\ufffd\n\tb"


def test_a_terminal_that_lacks_a_sign_gets_another() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "outthink", "methods"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
    )
    assert ran.returncode == 0 and ran.stderr == b"" and b"vote" in ran.stdout


def test_help_is_quick() -> None:
    """Torch, transformers and matplotlib are imported only where they are used."""
    slow = ("torch", "transformers", "matplotlib", "numpy", "sympy")
    code = f"import sys, outthink.cli; print([name for name in {slow} if name in sys.modules])"
    began = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
    assert time.perf_counter() - began < 10


def test_resuming_on_a_model_ends_with_the_same_content(outthink: Run, model: str, tmp_path: Path) -> None:
    given = ("bench", "--n", "4", "--strategies", "sample; vote(n=3)", "--model", model, "--json", *SHORT)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert outthink(*given, "--out", str(whole)).code == 0
    cut.mkdir()
    (cut / "bench.json").write_bytes((whole / "bench.json").read_bytes())
    lines = (whole / "results.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "results.jsonl").write_bytes(b"".join([lines[5], lines[0], lines[3][:40]]))
    ran = outthink(*given, "--out", str(cut), "--resume")
    assert ran.code == 0 and "6 answers in" in ran.err
    assert _without_times(cut) == _without_times(whole)


def _without_times(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return [{**line, "receipt": line["receipt"]["logical"]} for line in lines]


def test_the_list_of_methods_is_readable_in_a_narrow_terminal(
    outthink: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields fold word by word where they have ten characters: they are left to `methods NAME`."""
    wide = outthink("methods").out
    monkeypatch.setenv("COLUMNS", "80")
    narrow = outthink("methods").out
    assert "arXiv:2305.11860" in wide and "arXiv:" not in narrow and "confidence=0.95" not in narrow
    assert len(narrow.splitlines()) < 250 and "outthink methods NAME" in narrow


def test_each_strategy_of_a_bench_pays_for_its_own(outthink: Run, model: str, tmp_path: Path) -> None:
    """With the same seeds they write the same samples: none is cheap because another came before it."""
    words = ["bench", "--model", model, "--task", "steps", "--n", "2", "--max-tokens", "40"]
    strategies = "vote(n=3); weighted_vote(verifier=likelihood(), n=3, weight='exp')"
    assert outthink(*words, "--strategies", strategies, "--out", str(tmp_path / "run")).code == 0
    records = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    for record in records:
        spent, asked = (record["receipt"][book]["positions"] for book in ("actual", "logical"))
        assert spent >= 0.9 * asked, (record["strategy"], spent, asked)
