"""The same strategies on real servers that serve pocket: `make test-remote`. What is missing is skipped."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import outthink as ot
from outthink import strategy, verify
from outthink.bench import tasks
from outthink.engine.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
POCKET = ot.embedded()["pocket"]
QUESTION = "Mia has 14 coins. She buys 3 bags of 6 coins. How many coins does Mia have?"
GREEDY = ot.Sampling(temperature=0.0, max_tokens=200)
STARTING = 180  # seconds

pytestmark = pytest.mark.skipif(
    not os.environ.get("OUTTHINK_REAL_SERVERS"), reason="starts real servers: make test-remote"
)


def program(name: str, *modules: str) -> str:
    """A program of the environment of other people's servers, if it has those modules."""
    path = Path(os.environ.get("OUTTHINK_CLIENTS", Path(sys.executable).parent)) / name
    python = path.parent / "python"
    probe = f"import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in {modules!r}))"
    if not path.exists() or subprocess.run([str(python), "-c", probe]).returncode:
        pytest.skip(
            f"no {name} with {modules} in {path.parent}: set OUTTHINK_CLIENTS, as make test-remote does"
        )
    return str(path)


def _transformers(port: int, folder: Path) -> list[str]:
    script = program("transformers", "fastapi", "uvicorn", "accelerate")
    return [script, "serve", POCKET, "--port", str(port), "--host", "127.0.0.1", "--dtype", "float32"]


def _llama_cpp(port: int, folder: Path) -> list[str]:
    """Cache in float32: with half of the bits greedy choices part from those here."""
    python = program("python", "llama_cpp", "sse_starlette", "starlette_context", "gguf")
    file = str(folder / "pocket.gguf")
    made = [python, "-m", "benchmarks.gguf_export", POCKET, file, "--vocabulary"]
    subprocess.run(made, check=True, cwd=ROOT, timeout=STARTING)
    given = ["--port", str(port), "--host", "127.0.0.1", "--n_ctx", "2048", "--n_threads", "1"]
    float32 = ["--type_k", "0", "--type_v", "0"]
    return [python, "-m", "llama_cpp.server", "--model", file, *float32, *given]


def _own(port: int, folder: Path) -> list[str]:
    return [sys.executable, "-m", "outthink", "serve", "--model", "pocket", "--port", str(port)]


SERVERS = {"transformers": _transformers, "llama.cpp": _llama_cpp, "outthink": _own}


@pytest.fixture(scope="module", params=list(SERVERS))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine on a server that was started for it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    command = SERVERS[request.param](port, folder)
    log = (folder / "log").open("wb")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait(f"http://127.0.0.1:{port}/v1/models", process, folder / "log")
        name = POCKET if request.param == "transformers" else ""
        lm = ot.load(f"http://127.0.0.1:{port}/v1#{name}", tokenizer="pocket")
        yield lm
        lm.close()
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTING
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(url, trust_env=False)
            return
        except httpx.HTTPError:
            time.sleep(0.5)
    pytest.fail(f"the server did not start: {log.read_text(errors='replace')[-500:]}")


def test_greedy_is_the_local_text(engine: Engine) -> None:
    here = ot.run(strategy.Greedy(), QUESTION, ot.load("pocket"), sampling=GREEDY)
    there = ot.run(strategy.Greedy(), QUESTION, engine, sampling=GREEDY)
    assert there.text == here.text and there.final == here.final


def test_the_best_of_n_is_the_one_that_the_verifier_likes(engine: Engine) -> None:
    """The endpoint writes, the steps are checked here."""
    problem = tasks.load("steps").problem("test", 3)
    sampling = ot.Sampling(max_tokens=150)
    answer = ot.run(strategy.BestOfN(verify.Steps(), n=4), problem, engine, sampling=sampling)
    scores = [a.score for a in (answer, *answer.others)]
    assert len(scores) == 4 and None not in scores and scores[0] == max(scores)
    assert answer.receipt is not None and answer.receipt.logical.verified == 4


def test_a_vote_gives_an_answer_and_a_true_receipt(engine: Engine) -> None:
    answer = ot.run(strategy.Vote(n=4), QUESTION, engine, sampling=ot.Sampling(max_tokens=150))
    assert answer.final is not None and len(answer.others) == 3
    assert answer.receipt is not None and 4 <= answer.receipt.logical.written <= 600


def test_a_budget_holds(engine: Engine) -> None:
    answer = ot.run(strategy.Vote(n=3), QUESTION, engine, budget=ot.Budget(written=40))
    assert answer.receipt is not None and answer.receipt.logical.written <= 40


def test_eight_votes_on_our_own_server_cost_one_prompt(engine: Engine) -> None:
    """By the server's own count of rows; and the same seed gives the same texts again."""
    url = engine.main.backend.fleet.endpoints[0].url
    if engine.main.backend.about.name != "pocket":
        pytest.skip("it counts rows on our own server alone")

    def rows() -> float:
        text = httpx.get(url.removesuffix("/v1") + "/metrics", trust_env=False).text
        return float(re.findall(r"^outthink_engine_rows_total (\S+)$", text, re.MULTILINE)[0])

    question = "Leo has 31 shells. He finds 12 more. How many shells does Leo have?"
    sampling = ot.Sampling(temperature=1.5, max_tokens=80)  # hot enough for eight texts to differ
    before, texts = rows(), []
    for _ in range(2):
        answer = ot.run(strategy.Vote(n=8), question, engine, seed=3, sampling=sampling)
        assert answer.receipt is not None
        cost = rows() - before
        texts.append([a.text for a in (answer, *answer.others)])
        prompt = len(ot.load("pocket").main.tokenizer.chat([{"role": "user", "content": question}]))
        assert cost <= answer.receipt.logical.written + prompt, f"{cost} rows"
        before = rows()
    assert texts[0] == texts[1] and len(set(texts[0])) > 1
