"""Whatever is wrong with what is given: one line that says what would do, exit code 2, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Run

from outthink.bench.results import read

SOLVE = ("solve", "2 + 2?", "--model", "MODEL")
TASK = ("solve", "--model", "MODEL", "--task")
BENCH = ("bench", "--model", "MODEL", "--n", "2", "--out", "OUT")

WRONG = [
    (("slove",), "no command named 'slove'; did you mean 'solve'? There are: bench,"),
    (
        ("solve", "hi", "--temprature", "1"),
        "No such option: --temprature (Possible options: --strategy, --temperature",
    ),
    (("solve", "hi", "--seed", "x"), "'--seed'"),
    (("solve",), "give a question, or --task"),
    (("solve", "hi", "--task", "steps"), "give a question, or --task"),
    (("solve", "hi", "--model", "pokcet"), "no model named 'pokcet'"),
    (("solve", "hi", "--model", "no/such"), "no/such is not a directory"),
    (("solve", "hi", "--model", "EMPTY"), "config.json"),
    (
        (*SOLVE, "--strategy", "vot(n=8)"),
        "no strategy named 'vot'; did you mean 'vote'? There are: a_star,",
    ),
    ((*SOLVE, "--strategy", "likelihood"), "no strategy named 'likelihood'; it is a verifier. There are:"),
    ((*SOLVE, "--speculate", "vote"), "no drafter named 'vote'; it is a strategy. There are: auto,"),
    ((*SOLVE, "--strategy", "vote(m=8)"), "no field of vote named 'm'"),
    ((*SOLVE, "--strategy", "vote(n=0)"), "vote: n=0: give at least 1"),
    ((*SOLVE, "--strategy", "vote(n=-3)"), "vote: n=-3: give at least 1"),
    ((*SOLVE, "--strategy", "vote(n=99999999999)"), "n=99999999999: give at most 100000"),
    ((*SOLVE, "--strategy", "VOTE"), "no strategy named 'VOTE'; did you mean 'vote'?"),
    ((*SOLVE, "--strategy", "vote(n='8')"), "vote: n='8': give int"),
    ((*SOLVE, "--strategy", "vote(n=8"), "cannot read"),
    ((*SOLVE, "--strategy", ""), "nothing given where a strategy should be"),
    ((*SOLVE, "--strategy", "greedy; vote"), "names 2 parts"),
    (
        (*SOLVE, "--strategy", "best_of_n(n=2, verifier=step())"),
        "no verifier named 'step'; did you mean 'steps'?",
    ),
    ((*SOLVE, "--strategy", "best_of_n(n=2, verifier=steps(noise=2))"), "steps: noise=2.0"),
    (
        (*SOLVE, "--strategy", "best_of_n(n=2, verifier=steps())", "--max-tokens", "9"),
        "needs a problem of a task",
    ),
    ((*SOLVE, "--temperature", "-1"), "temperature=-1.0: give 0 or more"),
    ((*SOLVE, "--temperature", "nan"), "temperature=nan"),
    ((*SOLVE, "--top-p", "1.5"), "top_p=1.5: give a probability"),
    ((*SOLVE, "--top-k", "-1"), "top_k=-1"),
    ((*SOLVE, "--min-p", "2"), "min_p=2.0"),
    ((*SOLVE, "--max-tokens", "0"), "max_tokens=0: give at least 1"),
    ((*SOLVE, "--stop", ""), "stop="),
    ((*SOLVE, "--budget", "written=0"), "budget written=0 buys nothing"),
    ((*SOLVE, "--budget", "written=-5"), "budget written=-5 buys nothing"),
    ((*SOLVE, "--budget", "written"), "cannot read 'written' as a cap: give NAME=NUMBER"),
    ((*SOLVE, "--budget", ""), "cannot read '' as a cap"),
    ((*SOLVE, "--budget", "writen=3"), "no cap named 'writen'; did you mean 'written'?"),
    ((*SOLVE, "--budget", "written=many"), "budget written='many' is not a number"),
    ((*SOLVE, "--budget", "written=2.5"), "budget written=2.5 is a count"),
    ((*SOLVE, "--budget", "written=nan"), "not a number"),
    ((*SOLVE, "--budget", "written=3,written=4"), "written is given twice"),
    ((*SOLVE, "--max-batch", "0"), "max_batch=0"),
    ((*SOLVE, "--threads", "0"), "threads=0: give 1 to 256"),
    ((*SOLVE, "--threads", "100000"), "threads=100000: give 1 to 256"),
    ((*SOLVE, "--dtype", "float33"), "dtype 'float33' is not known; use one of"),
    ((*SOLVE, "--device", "tpu"), "'tpu'"),
    ((*SOLVE, "--cache", "0"), "cache=0.0"),
    (("solve", "", "--model", "MODEL"), "the prompt is empty"),
    (("solve", " \n", "--model", "MODEL"), "the prompt is empty"),
    (("solve", "caf\udce9", "--model", "MODEL"), "an argument is not UTF-8: byte 0xe9 at position 3"),
    (("solve", "why? " * 200, "--model", "MODEL"), "tokens; MODEL accepts 512, answer included"),
    ((*TASK, "stepz"), "no task named 'stepz'; did you mean 'steps'?"),
    ((*TASK, "steps", "--level", "99"), "level must be 1..8"),
    ((*TASK, "steps", "--index", "-1"), "index must be a whole number"),
    ((*TASK, "gsm8k"), "gsm8k needs path"),
    ((*TASK, "gsm8k(path='none.jsonl')"), "no such file: 'none.jsonl'"),
    ((*TASK, "gsm8k(path='none.jsonl')", "--level", "1"), "gsm8k has no levels"),
    ((*SOLVE, "--strategy", "fractured(depths=1000000)"), "depths=1000000: give at most 100000"),
    ((*SOLVE, "--strategy", "vote(n=100000)"), "more than 4096 live branches"),
    ((*SOLVE, "--parts", "none.py"), "none.py: no such file"),
    ((*SOLVE, "--api", "chat"), "api is said of an endpoint, and MODEL is none"),
    ((*SOLVE, "--prices", "1,2"), "prices is said of an endpoint"),
    (("diagnose", "--model", "MODEL", "--out", "/proc/x.png"), "cannot write into '/proc'"),
    (("diagnose", "--model", "MODEL", "--out", "EMPTY"), "is a folder: give the name of a file"),
    (("store", "build", "FILE", "--out", "no/x.store"), "there is no folder no: No such file"),
    (("serve", "--keys", "none.txt"), "cannot read the keys in none.txt: No such file"),
    (("serve", "--port", "-1"), "port=-1: give 1 to 65535"),
    (("serve", "--parts", "none.py"), "none.py: no such file"),
    (("methods", "--parts", "none.py"), "none.py: no such file"),
    (("tasks", "stepz"), "did you mean 'steps'?"),
    (("models", "pokcet"), "no model named 'pokcet'"),
    (("methods", "voet"), "did you mean 'vote'?"),
    ((*BENCH, "--n", "0"), "n=0: give at least 1 problem"),
    ((*BENCH, "--task", "steps,stepz"), "no task named 'stepz'"),
    ((*BENCH, "--task", "steps", "--task", "steps()"), "the task steps() is given twice"),
    ((*BENCH, "--strategies", "greedy; greedy()"), "the strategy greedy() is given twice"),
    ((*BENCH, "--strategies", ";"), "cannot read"),
    ((*BENCH, "--concurrency", "0"), "concurrency=0"),
    ((*BENCH, "--resume", "--overwrite"), "give one of them"),
    (("bench", "--model", "MODEL", "--out", ""), "--out is empty"),
    (("bench", "--model", "pokcet", "--out", "OUT"), "no model named 'pokcet'"),
    (("bench", "--model", "MODEL", "--out", "/dev/full"), "cannot write into '/dev/full'"),
    (("bench", "--model", "MODEL", "--out", "/proc/no"), "cannot write into '/proc/no'"),
]


@pytest.mark.parametrize(
    "words, said", WRONG, ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else ""
)
def test_is_refused_in_one_line(
    words: tuple[str, ...], said: str, outthink: Run, model: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    places = {
        "MODEL": model,
        "OUT": str(tmp_path / "out"),
        "EMPTY": str(tmp_path / "empty"),
        "FILE": __file__,
    }
    ran = outthink(*(places.get(word, word) for word in words))
    assert said in ran.err.replace(model, "MODEL")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize(
    "strategy", ["fractured(depths=100000)", "particles(expand=100000, verifier=likelihood())"]
)
def test_more_branches_than_may_live_are_refused_soon(strategy: str, outthink: Run, model: str) -> None:
    """It may be said first that the strategy held the loop."""
    began = time.process_time()
    ran = outthink("solve", "2 + 2?", "--model", model, "--strategy", strategy)
    assert ran.code == 2 and "more than 4096 live branches: ask for fewer" in ran.err
    assert time.process_time() - began < 10


def test_a_task_index_past_the_end_of_a_file(outthink: Run, model: str, tmp_path: Path) -> None:
    file = tmp_path / "two.jsonl"
    file.write_text('{"question": "1+1?", "answer": "#### 2"}\n{"question": "2+2?", "answer": "#### 4"}\n')
    ran = outthink("solve", "--model", model, "--task", f"gsm8k(path='{file}')", "--index", "2")
    assert ran.code == 2 and "has 2 problems, index 2 is past the last" in ran.err
    ran = outthink(
        "bench",
        "--model",
        model,
        "--task",
        f"gsm8k(path='{file}')",
        "--out",
        str(tmp_path / "out"),
        "--n",
        "3",
    )
    assert ran.code == 2 and "has 2 problems" in ran.err and not (tmp_path / "out").exists()


def test_a_prompt_on_stdin_that_is_not_utf8(model: str) -> None:
    ran = command("solve", "-", "--model", model, input=b"caf\xe9")
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr == b"outthink: the prompt on stdin is not UTF-8: byte 0xe9 at 3\n"


def test_an_argument_that_is_not_utf8(model: str) -> None:
    ran = command("solve", b"caf\xe9", "--model", model)
    assert ran.returncode == 2 and ran.stderr.startswith(b"outthink: an argument is not UTF-8: byte 0xe9")


def test_a_full_disk_behind_stdout() -> None:
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(PROGRAM + ["methods", "--json"], stdout=full, stderr=subprocess.PIPE)
    assert ran.returncode == 1 and ran.stderr == b"outthink: [Errno 28] No space left on device\n"


def test_no_stdout_at_all() -> None:
    ran = subprocess.run(["sh", "-c", f"{sys.executable} -m outthink tasks >&-"], stderr=subprocess.PIPE)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_a_closed_pipe_behind_stdout() -> None:
    ran = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m outthink methods --json | true"], stderr=subprocess.PIPE
    )
    assert b"Traceback" not in ran.stderr and b"Exception" not in ran.stderr


@pytest.mark.parametrize("hurt", ["truncated", "no weights", "no tokenizer", "other shape"])
def test_a_broken_model_directory(hurt: str, outthink: Run, model: str, tmp_path: Path) -> None:
    for file in Path(model).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if hurt == "truncated":
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
    elif hurt == "other shape":
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    else:
        (tmp_path / {"no weights": "model.safetensors", "no tokenizer": "tokenizer.json"}[hurt]).unlink()
    ran = outthink("solve", "hi", "--model", str(tmp_path))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)


def test_a_bug_of_ours_shows_where(outthink: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outthink.cli.lists.spec.names", lambda family: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        outthink("methods")


PROGRAM = [sys.executable, "-m", "outthink"]


def command(*words: str | bytes, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*PROGRAM, *words], input=input, capture_output=True, timeout=120)


def test_ctrl_c_during_bench_is_quick_and_resumable(model: str, tmp_path: Path) -> None:
    given = ["bench", "--n", "200", "--strategies", "vote(n=4)", "--max-tokens", "64", "--model", model]
    results = tmp_path / "cut" / "results.jsonl"
    words = [*given, "--out", str(tmp_path / "cut")]
    running = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while running.poll() is None and not (results.exists() and len(read(results)) > 3):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    began = time.perf_counter()
    out, err = running.communicate(timeout=60)
    assert time.perf_counter() - began < 10  # two seconds on a machine of its own
    assert running.returncode == 130 and out == b"" and b"Traceback" not in err
    assert b"outthink " + " ".join(map(_quoted, words)).encode() + b" --resume" in err
    kept = read(results)
    assert 3 < len(kept) < 200
    assert sorted(os.listdir(tmp_path / "cut")) == ["bench.json", "results.jsonl"]


def _quoted(word: str) -> str:
    return f"'{word}'" if "(" in word else word
