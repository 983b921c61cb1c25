"""The same strategies on real servers that serve pocket: `make test-remote`. What is missing is skipped."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import outthink as ot
from outthink import strategy
from outthink.engine.engine import Engine

POCKET = ot.embedded()["pocket"]
QUESTION = "Mia has 14 coins. She buys 3 bags of 6 coins. How many coins does Mia have?"
GREEDY = ot.Sampling(temperature=0.0, max_tokens=200)
STARTING = 180  # seconds

pytestmark = pytest.mark.skipif(
    not os.environ.get("OUTTHINK_REAL_SERVERS"), reason="starts real servers: make test-remote"
)


def _has(*modules: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in modules)


def _transformers(port: int) -> list[str]:
    if not _has("fastapi", "uvicorn", "accelerate"):
        pytest.skip("transformers serve is not installed: pip install 'transformers[serving]' accelerate")
    script = Path(sys.executable).parent / "transformers"
    return [str(script), "serve", POCKET, "--port", str(port), "--host", "127.0.0.1"]


def _llama_cpp(port: int, folder: Path) -> list[str]:
    binary = shutil.which("llama-server")
    if binary is None and not _has("llama_cpp", "sse_starlette", "starlette_context"):
        pytest.skip("llama.cpp's server is not installed: pip install 'llama-cpp-python[server]'")
    if not _has("gguf"):
        pytest.skip("pocket cannot be converted: pip install gguf")
    from benchmarks.gguf_export import export

    file = folder / "pocket.gguf"
    export(Path(POCKET), file)
    given = ["--port", str(port), "--host", "127.0.0.1"]
    if binary is not None:
        return [binary, "-m", str(file), *given]
    return [sys.executable, "-m", "llama_cpp.server", "--model", str(file), *given]


def _own(port: int) -> list[str]:
    if importlib.util.find_spec("outthink.serve") is None:
        pytest.skip("this version has no server of its own")
    return [sys.executable, "-m", "outthink", "serve", "--model", "pocket", "--port", str(port)]


@pytest.fixture(scope="module", params=["transformers", "llama.cpp", "outthink"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine on a server that was started for it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    make = {"transformers": _transformers, "llama.cpp": lambda p: _llama_cpp(p, folder), "outthink": _own}
    command = make[request.param](port)
    log = (folder / "log").open("wb")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, folder / "log")
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


def test_a_vote_gives_an_answer_and_a_true_receipt(engine: Engine) -> None:
    answer = ot.run(strategy.Vote(n=4), QUESTION, engine, sampling=ot.Sampling(max_tokens=150))
    assert answer.final is not None and len(answer.others) == 3
    assert answer.receipt is not None and 4 <= answer.receipt.logical.written <= 600


def test_a_budget_holds(engine: Engine) -> None:
    answer = ot.run(strategy.Vote(n=3), QUESTION, engine, budget=ot.Budget(written=40))
    assert answer.receipt is not None and answer.receipt.logical.written <= 40
