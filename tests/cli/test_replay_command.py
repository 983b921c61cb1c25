"""`outthink replay`: what it prints, what it leaves, and what it says of wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

LINES: list[dict[str, Any]] = [
    {"id": f"p{i}", "answer": answer, "reference": "1", "tokens": 10 + j, "logprob": -1.0 - j, "score": score}
    for i in range(8)
    for j, (answer, score) in enumerate([("1", 0.9), ("2" if i % 2 else "1", 0.4), ("3", 0.1), ("1", 0.6)])
]


@pytest.fixture
def samples(tmp_path: Path) -> str:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return str(path)


def test_json_is_one_object_with_every_curve(outthink: Run, samples: str) -> None:
    ran = outthink("replay", samples, "--selectors", "vote; best_of_n(verifier=recorded())", "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert (found["problems"], found["samples"]) == (8, [4, 4])
    kinds = [(p["selector"], p["k"]) for p in found["curves"]]
    assert kinds[:3] == [("vote", 1), ("vote", 2), ("vote", 4)] and len(kinds) == 9
    last = {p["selector"]: p for p in found["curves"] if p["k"] == 4}
    assert last["best_of_n(verifier=recorded())"]["accuracy"] == 1.0
    assert last["any right (coverage)"]["accuracy"] == 1.0 and last["vote"]["written"] == 46.0
    assert all(p["low"] <= p["accuracy"] <= p["high"] and p["error"] == 0 for p in found["curves"])


def test_a_folder_gets_the_results_and_a_picture(outthink: Run, samples: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    verifier = ("--analyse", "--verifier", "recorded()", "--penalty", "2")
    ran = outthink("replay", samples, "--selectors", "vote; short(m=1)", *verifier, "--out", str(out))
    assert ran.code == 0, ran.err
    assert "best number of samples" in ran.out and "coverage = exp(" in ran.out
    found = json.loads((out / "replay.json").read_text())
    assert found["flawed_verifier"]["penalty"] == 2.0 and found["coverage_law"]["fitted"]
    picture = (out / "replay.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000


def test_the_same_seed_prints_the_same(outthink: Run, samples: str) -> None:
    words = ("replay", samples, "--selectors", "adaptive_vote(wave=1)", "--draws", "5", "--json")
    one, same, other = outthink(*words), outthink(*words), outthink(*words, "--seed", "1")
    assert one.out == same.out != other.out
    assert any(p["error"] > 0 for p in one.json["curves"])


def test_systems_are_told_apart(outthink: Run, data_dir: Path) -> None:
    file = data_dir / "gsm8k" / "example_model_solutions.jsonl"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    ran = outthink("replay", str(file), "--k", "4")
    assert ran.code == 0, ran.err
    for share in ("21.68 %", "39.04 %", "34.72 %", "56.25 %", "67.25 %"):
        assert share in ran.out


def test_a_bench_keeps_its_samples_for_replay(outthink: Run, model: str, tmp_path: Path) -> None:
    """maj@1 over the samples is the mean share of right ones; maj@all is what the bench said."""
    out = str(tmp_path / "bench")
    words = ("--model", model, "--n", "3", "--max-tokens", "12", "--strategies", "vote(n=4)", "--out", out)
    ran = outthink("bench", *words, "--samples", "--json")
    assert ran.code == 0, ran.err
    lines = (tmp_path / "bench" / "results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [len(record["samples"]) for record in records] == [4, 4, 4]
    assert all(sample["logprob"] < 0 < sample["tokens"] for r in records for sample in r["samples"])
    again = outthink("replay", str(tmp_path / "bench" / "results.jsonl"), "--json")
    assert again.code == 0, again.err
    last = next(p for p in again.json["curves"] if p["k"] == 4 and p["selector"] == "vote")
    assert last["accuracy"] == sum(r["correct"] for r in records) / 3
    assert last["written"] == pytest.approx(sum(r["receipt"]["logical"]["written"] for r in records) / 3)


WRONG = [
    (("replay",), "FILE"),
    (("replay", "NOWHERE"), "cannot read"),
    (("replay", "EMPTY"), "holds no samples"),
    (("replay", "TORN"), "line 2: not JSON"),
    (("replay", "SAMPLES", "--selectors", "vot"), "no strategy named 'vot'; did you mean 'vote'?"),
    (("replay", "SAMPLES", "--selectors", "greedy"), "greedy needs a model"),
    (("replay", "SAMPLES", "--selectors", "deep_conf"), "line 1: a sample has no 'certainty'"),
    (("replay", "SAMPLES", "--k", "1,x"), "cannot read '1,x' as numbers of samples"),
    (("replay", "SAMPLES", "--k", "9"), "k=9: give 1 to 4"),
    (("replay", "SAMPLES", "--draws", "1"), "draws=1: give at least 2"),
    (("replay", "SAMPLES", "--verifier", "recorded()"), "--verifier is for --analyse"),
    (("replay", "SAMPLES", "--analyse", "--verifier", "recorded()", "--penalty", "-1"), "penalty=-1.0"),
    (("replay", "SAMPLES", "--out", "SAMPLES/x"), "cannot write into"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_wrong_input_is_said_in_a_line(
    outthink: Run, samples: str, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "torn").write_text(json.dumps(LINES[0]) + '\n{"id": ')
    places = {"NOWHERE": "nowhere", "EMPTY": "empty", "TORN": "torn", "SAMPLES": "samples.jsonl"}
    given = list(words)
    for name, file in places.items():
        given = [word.replace(name, str(tmp_path / file)) for word in given]
    ran = outthink(*given)
    assert ran.code == 2 and message in ran.err and "Traceback" not in ran.err, ran.err
    assert len(ran.err.strip().splitlines()) == 1
