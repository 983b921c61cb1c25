"""Clients that others wrote, unmodified, on our server: `make test-remote`.

Every score is compared with one that is computed in this process.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import outthink as ot
from outthink import spec
from outthink.bench import tasks
from outthink.engine.engine import Engine
from outthink.engine.request import Request

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "serve"))
from served import QUESTION, Served  # noqa: E402

POCKET = ot.embedded()["pocket"]
COUNT = 8  # problems
ROLLING = "rolling"

pytestmark = pytest.mark.skipif(
    not os.environ.get("OUTTHINK_REAL_SERVERS"), reason="runs real clients: make test-remote"
)


def program(name: str) -> str:
    """A program of the clients' environment."""
    path = Path(os.environ.get("OUTTHINK_CLIENTS", Path(sys.executable).parent)) / name
    if not path.exists():
        pytest.skip(f"no {name} in {path.parent}: set OUTTHINK_CLIENTS, as make test-remote does")
    return str(path)


def call(*command: str, **environment: str) -> str:
    """What a program prints; what it complained of, if it failed."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    made = subprocess.run(
        command,
        env=os.environ | offline | environment,
        cwd=HERE / "programs",  # inspect takes no whole paths
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert made.returncode == 0, f"{made.stdout[-2000:]}\n{made.stderr[-3000:]}"
    return made.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    served = Served("--dtype", "float64", "--threads", "1")
    yield served
    assert served.end() == 0


@pytest.fixture(scope="module")
def here() -> Engine:
    return ot.load("pocket", dtype="float64", threads=1)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Problems with answers to choose from: the right one, one beside it, and what the model would write."""
    made = []
    for i in range(COUNT):
        problem = tasks.load("steps").problem("test", i)
        assert problem.secret is not None
        right = int(problem.secret.reference)
        choices = [f"\nA: {n}\n" for n in (right + 1, right, right - 2)]
        question = f"Q: {problem.prompt}"
        made.append(
            {"prompt": problem.prompt, "question": question, "choices": choices, "answer": str(right)}
        )
    return made


def write(rows: list[dict[str, Any]], place: Path) -> str:
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(place)


def greedy(here: Engine, text: str) -> str:
    """What greedy writes after a text."""
    tokens = tuple(here.main.tokenizer.encode(text))
    return here.run(Request(spec.parse("greedy"), text, tokens=tokens)).text


def score(here: Engine, before: str, after: str) -> tuple[float, bool]:
    """log p(after | before), and whether greedy would write it."""
    encode = here.main.tokenizer.encode
    begin, whole = tuple(encode(before)), tuple(encode(before + after))
    assert whole[: len(begin)] == begin
    return score_tokens(here, begin, whole[len(begin) :])


def score_tokens(here: Engine, begin: tuple[int, ...], rest: tuple[int, ...]) -> tuple[float, bool]:
    """The same of tokens."""
    seen: dict[str, Any] = {}

    class Score:
        async def __call__(self, root: ot.Branch, /) -> ot.Answer:
            seen["rows"] = await root.extend(rest, ot.Want(top=1))
            return ot.Answer("")

    here.run(Request(Score(), "", tokens=begin))
    best = tuple(dist.top[0][0] for dist in seen["rows"].dists)
    return sum(seen["rows"].logprobs), best == rest


# ---- lm-eval


def lm_eval_tasks(folder: Path, data: str) -> None:
    """Three tasks as anybody writes them: choose, write, perplexity."""
    head = f"dataset_path: json\ndataset_kwargs:\n  data_files: {data}\ntest_split: train\n"
    (folder / "choose.yaml").write_text(
        f"task: choose\n{head}output_type: multiple_choice\n"
        'doc_to_text: "{{question}}"\n'
        'doc_to_target: "{{label}}"\ndoc_to_choice: "{{choices}}"\ntarget_delimiter: ""\n'
        "metric_list:\n  - metric: acc\n"
    )
    (folder / "write.yaml").write_text(
        f"task: write\n{head}output_type: generate_until\n"
        'doc_to_text: "{{question}}\\n"\n'
        'doc_to_target: "{{answer}}"\ngeneration_kwargs:\n'
        '  until: ["\\n\\n"]\n  max_gen_toks: 120\n  temperature: 0\n'
        "metric_list:\n  - metric: exact_match\nfilter_list:\n  - name: final\n    filter:\n"
        '      - function: regex\n        regex_pattern: "A: *(-?[0-9]+)"\n      - function: take_first\n'
    )
    (folder / "rolling.yaml").write_text(
        f'task: {ROLLING}\n{head}output_type: loglikelihood_rolling\ndoc_to_text: ""\n'
        'doc_to_target: "{{question}}"\nmetric_list:\n  - metric: byte_perplexity\n'
    )


@pytest.fixture(scope="module")
def lm_eval(
    server: Served, here: Engine, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Scores by task, with the samples; the fourth choice of each problem is what greedy writes there."""
    command = program("lm_eval")
    folder = tmp_path_factory.mktemp("lm_eval")
    for row in rows:
        row["label"] = 1
        row["choices"] = [*row["choices"][:3], greedy(here, row["question"])]
    lm_eval_tasks(folder, write(rows, folder / "data.jsonl"))
    given = {
        "model": "pocket",
        "base_url": f"{server.url}/v1/completions",
        "tokenizer": POCKET,
        "tokenizer_backend": "huggingface",
        "add_bos_token": "true",
        "num_concurrent": "4",
        "max_retries": "1",
    }
    arguments = ",".join(f"{name}={value}" for name, value in given.items())
    out = folder / "out"
    call(
        *(command, "run", "--model", "local-completions", "--model_args", arguments),
        *("--tasks", f"choose,write,{ROLLING}", "--include_path", str(folder)),
        *("--output_path", str(out), "--log_samples"),
        HF_HOME=str(folder / "home"),
    )
    [results] = out.rglob("results_*.json")
    found: dict[str, Any] = json.loads(results.read_text())["results"]
    for name in found:
        [samples] = out.rglob(f"samples_{name}_*.jsonl")
        lines = map(json.loads, samples.read_text().splitlines())
        found[name]["samples"] = sorted(lines, key=lambda one: one["doc_id"])
    return found


def test_lm_eval_chooses_as_this_process(
    lm_eval: dict[str, Any], here: Engine, rows: list[dict[str, Any]]
) -> None:
    right, is_greedy = 0, 0
    for row, sample in zip(rows, lm_eval["choose"]["samples"], strict=True):
        expected = [score(here, row["question"], choice) for choice in row["choices"]]
        told = [(float(logp), best == "True") for [[logp, best]] in sample["resps"]]
        assert [p for p, _ in told] == pytest.approx([p for p, _ in expected], abs=1e-6)
        assert [best for _, best in told] == [best for _, best in expected]
        likeliest = max(range(len(expected)), key=lambda i: expected[i][0])
        right += likeliest == row["label"]
        is_greedy += told[3][1]
    assert lm_eval["choose"]["acc,none"] == right / len(rows)
    assert is_greedy == len(rows)  # what greedy writes is what greedy writes, up to the end token


def test_lm_eval_writes_as_this_process(
    lm_eval: dict[str, Any], here: Engine, rows: list[dict[str, Any]]
) -> None:
    right = 0
    for row, sample in zip(rows, lm_eval["write"]["samples"], strict=True):
        text = greedy(here, row["question"] + "\n")
        assert sample["resps"] == [[text]]
        right += re.findall(r"A: *(-?[0-9]+)", text)[:1] == [row["answer"]]
    assert lm_eval["write"]["exact_match,final"] == right / len(rows)


def test_lm_eval_has_the_perplexity_of_this_process(
    lm_eval: dict[str, Any], here: Engine, rows: list[dict[str, Any]]
) -> None:
    encode = here.main.tokenizer.encode  # which begins with the begin token, as lm-eval's does, after its own
    whole = [tuple(encode(row["question"])) for row in rows]
    logp = sum(score_tokens(here, tokens[:1], tokens)[0] for tokens in whole)
    size = sum(len(row["question"].encode()) for row in rows)
    assert lm_eval[ROLLING]["byte_perplexity,none"] == pytest.approx(math.exp(-logp / size), rel=1e-6)


# ---- inspect-ai


@pytest.mark.parametrize("strategy", ["greedy", "vote(n=4)"])
def test_inspect_has_the_score_of_this_process(
    server: Served, here: Engine, rows: list[dict[str, Any]], strategy: str, tmp_path: Path
) -> None:
    command = program("inspect")
    data = write(rows, tmp_path / "data.jsonl")
    call(
        *(command, "eval", "inspected.py", "-T", f"data={data}"),
        *("--model", f"openai-api/outthink/pocket+{strategy}", "--seed", "5", "--temperature", "0.9"),
        *("--max-tokens", "120", "--max-retries", "0", "--display", "none"),
        *("--log-dir", str(tmp_path / "log"), "--log-format", "json"),
        OUTTHINK_API_KEY="none",
        OUTTHINK_BASE_URL=f"{server.url}/v1",
    )
    [log] = (tmp_path / "log").glob("*.json")
    told = json.loads(log.read_text())
    assert told["status"] == "success"
    samples = sorted(told["samples"], key=lambda one: one["id"])
    sampling = ot.Sampling(temperature=0.9, max_tokens=120)
    right, written = 0, 0
    for row, sample in zip(rows, samples, strict=True):
        expected = here.run(Request(spec.parse(strategy), row["prompt"], seed=5, sampling=sampling))
        assert expected.receipt is not None
        assert sample["output"]["choices"][0]["message"]["content"] == expected.text
        right += re.findall(r"A: *(-?[0-9]+)", expected.text)[:1] == [row["answer"]]
        written += expected.receipt.logical.written
    [metrics] = [one["metrics"] for one in told["results"]["scores"]]
    assert metrics["accuracy"]["value"] == pytest.approx(right / len(rows))
    [usage] = told["stats"]["model_usage"].values()
    assert usage["output_tokens"] == written


# ---- its_hub


def test_its_hub_runs_on_our_server(server: Served, here: Engine) -> None:
    """Its vote, its best of n, its beams and its particles; the last two write a message on, step by step."""
    told = json.loads(
        call(program("python"), str(HERE / "programs" / "hub.py"), f"{server.url}/v1", QUESTION)
    )
    vote, best = told["vote"], told["best"]
    finals = [_final(text) for text in vote["texts"]]
    assert len(finals) == 8 and len({*vote["texts"], *best["texts"]}) > 1  # chance is not one and the same
    assert Counter(finals)[finals[vote["picked"]]] == max(Counter(finals).values())
    goodness = [_goodness(text) for text in best["texts"]]
    assert len(goodness) == 8 and goodness[best["picked"]] == max(goodness)
    expected = ot.run(spec.parse("greedy"), QUESTION, here).text
    assert told["greedy"] == [expected] * 3
    read, written = told["usage"]
    assert read == 8 * len(here.main.tokenizer.chat([{"role": "user", "content": QUESTION}]))
    encode = here.main.tokenizer.encode
    assert written >= sum(len(encode(text, special=False)) for text in vote["texts"])
    for text in (told["beam"], told["particles"]):
        assert re.search(r"^A: -?\d+$", text, re.MULTILINE), text


def _final(text: str) -> str:
    return text.rpartition("A:")[2].strip()


def _goodness(text: str) -> float:
    return sum(c in "02468" for c in text) / (1 + len(text))
