"""`map --cluster ray` on two workers on this machine, with kill -9 of a worker and of the driver."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from outthink import cli
from outthink.testing.endpoint import Endpoint, Powers, writes

ROOT = Path(__file__).resolve().parents[2]
WORKERS = ["--cluster", "ray", "--workers", "2", "--threads", "1", "--concurrency", "4"]

PATIENCE = 600  # seconds: Ray starts a dozen processes, and the machine may be busy
TRIES = 6  # a node that is not up after 30 seconds gives itself up
# Named, so that the node need not wait for its agents to find some: it gives that up after 15 seconds.
PORTS = [
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
]

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'outthink[ray]'"
    ),
    pytest.mark.timeout(3600),
]


class Cluster(NamedTuple):
    """A cluster: the environment of processes that use it, and the process that it is made of."""

    environment: dict[str, str]
    head: subprocess.Popen[str]

    def start(self, words: list[str]) -> subprocess.Popen[str]:
        """A command that uses it."""
        assert self.head.poll() is None, "the cluster has ended"
        command = [sys.executable, "-m", "outthink", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def workers(self) -> list[int]:
        """The processes of our workers on it."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and (folder / "cmdline").read_bytes().startswith(b"ray::Worker"):
                    found.append(int(folder.name))
            except OSError:  # it has ended
                continue
        return [pid for pid in found if self.head.pid in _above(pid)]


def _above(pid: int) -> list[int]:
    """The parents of a process, up to the first."""
    found = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return []
        found.append(pid)
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of one node with two cores."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # paths of sockets are short
    given = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    given |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_gcs_server_port_wait_time_s": str(PATIENCE),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # nothing is left on it when it ends
        "PYTHONUNBUFFERED": "1",
    }
    for _ in range(TRIES):
        process, address = _head(folder, given)
        assert process.stdout is not None
        if any("Ray runtime started" in line for line in process.stdout):
            break
        _end(process)
    else:
        pytest.fail(f"Ray did not start in {TRIES} tries: the machine may be too busy for it")
    yield Cluster(given | {"RAY_ADDRESS": address}, process)
    _end(process)
    shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[str]) -> None:
    """End a node with all that it has started, at the latest by force."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _head(folder: str, environment: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """A node of its own on its way, and its address."""
    port, *others = _free_ports(1 + len(PORTS))
    words = ["ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2", "--include-dashboard=false"]
    words += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={folder}"]
    words += [f"--{name}={port}" for name, port in zip(PORTS, others, strict=True)]
    words += ["--object-store-memory=100000000"]
    command, nowhere = [sys.executable, "-m", *words], subprocess.DEVNULL
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=nowhere,
        text=True,
        start_new_session=True,  # a group of its own, to be ended whole
    )
    return process, f"127.0.0.1:{port}"


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _until(is_so: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def write_dataset(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"prompt": f"Twice {i}?"}) + "\n" for i in range(count)))
    return path


def ended(process: subprocess.Popen[str], seconds: float = PATIENCE) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"the command did not end: {process.communicate()}")
    return process.returncode, out, err


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def told(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what depends on the moment: the book of what was computed, and times."""
    receipt = {k: v for k, v in record["receipt"].items() if k not in ("actual", "wall")}
    return record | {"receipt": receipt}


def test_the_answers_are_those_without_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    file = write_dataset(tmp_path / "in.jsonl", 10)
    common = ["map", str(file), "--model", "pocket-mini", "--strategy", "vote(n=3)", "--max-tokens", "30"]
    code, out, err = ended(cluster.start([*common, "--out", str(tmp_path / "there"), "--json", *WORKERS]))
    assert code == 0, err
    assert json.loads(out)["done"] == 10
    assert cli.run([*common, "--out", str(tmp_path / "here"), "--threads", "1"]) == 0
    here, there = records(tmp_path / "here"), records(tmp_path / "there")
    assert list(map(told, there)) == list(map(told, here))
    assert len({record["text"] for record in here}) == 10


def test_more_workers_than_there_is_room_for(cluster: Cluster, tmp_path: Path) -> None:
    file = write_dataset(tmp_path / "in.jsonl", 1)
    words = ["map", str(file), "--model", "toy", "--out", str(tmp_path / "out"), "--cluster", "ray"]
    code, _, err = ended(cluster.start([*words, "--workers", "9"]))
    assert code == 2 and "room for 2 workers of 1 core(s), not 9" in err


def test_a_model_that_is_not_there(cluster: Cluster, tmp_path: Path) -> None:
    file = write_dataset(tmp_path / "in.jsonl", 1)
    words = ["map", str(file), "--model", "pocet", "--out", str(tmp_path / "out"), *WORKERS]
    code, _, err = ended(cluster.start(words))
    assert code == 2 and "no model named 'pocet'; did you mean 'pocket'?" in err


class Killing:
    """A map of 40 questions over a slow endpoint; what was asked of it, and what the journal has."""

    def __init__(self, folder: Path, endpoint: Endpoint, cluster: Cluster) -> None:
        self.endpoint, self.cluster, self.out = endpoint, cluster, folder / "out"
        file = write_dataset(folder / "in.jsonl", 40)
        self.words = ["map", str(file), "--model", endpoint.spec, "--out", str(self.out), *WORKERS]
        endpoint.powers = Powers(per_token=0.1)
        self.process = cluster.start(self.words)

    def wait(self, answers: int) -> None:
        """Until there are so many answers, and four problems in work: two on each worker, as is its share."""

        def is_so() -> bool:
            return self.count("done") >= answers and self.count("begun") == 4

        _until(lambda: is_so() or self.process.poll() is not None, PATIENCE)
        assert self.process.poll() is None, self.process.communicate()

    def count(self, state: str) -> int:
        """How many problems are in that state in the journal."""
        try:
            with sqlite3.connect(f"file:{self.out / 'journal.sqlite'}?mode=ro", uri=True) as base:
                query = "SELECT count(*) FROM results WHERE state = ?"
                count = base.execute(query, (state,)).fetchone()[0]
            base.close()
            return int(count)
        except sqlite3.Error:
            return 0

    def asked(self) -> list[str]:
        questions = [s.body["messages"][0]["content"] for s in self.endpoint.texts if "messages" in s.body]
        return [q for q in questions if q.startswith("Twice")]

    def check(self, most: int) -> None:
        """Everything is answered; what was begun twice is at most what was in work, and nothing else was."""
        found = records(self.out)
        assert [r["final"] for r in found] == [str(2 * i) for i in range(40)]
        twice = {r["prompt"] for r in found if r["begun"] == 2}
        assert all(r["begun"] in (1, 2) for r in found) and 1 <= len(twice) <= most
        questions = self.asked()
        assert all(questions.count(q) == 1 for q in set(questions) - twice)
        assert all(questions.count(q) in (1, 2) for q in twice)


@pytest.fixture
def killing(tmp_path: Path, cluster: Cluster) -> Iterator[Killing]:
    def double(question: str) -> dict[str, float]:
        digits = "".join(c for c in question if c.isdigit())
        return {f"A: {2 * int(digits)}\n": 1.0} if digits else {"One. Two. Three.": 0.6, "Two. One.": 0.4}

    _until(lambda: not cluster.workers(), PATIENCE)  # those of the test before
    with Endpoint(writes(double)) as endpoint:
        made = Killing(tmp_path, endpoint, cluster)
        yield made
        made.process.kill()
        made.process.communicate()


def test_a_worker_that_is_killed_loses_what_it_had_in_work(killing: Killing) -> None:
    killing.wait(answers=6)
    assert len(killing.cluster.workers()) == 2
    os.kill(killing.cluster.workers()[0], signal.SIGKILL)
    killing.endpoint.powers = Powers()
    code, _, err = ended(killing.process)
    assert code == 0, err
    killing.check(most=2)


def test_a_driver_that_is_killed_loses_what_was_in_work(killing: Killing) -> None:
    killing.wait(answers=10)
    killing.process.send_signal(signal.SIGKILL)
    assert killing.process.wait(10) == -signal.SIGKILL
    _until(lambda: not killing.cluster.workers(), PATIENCE)
    kept, asked = killing.count("done"), len(killing.asked())
    assert 10 <= kept < 40 and kept <= asked <= kept + 4
    killing.endpoint.powers = Powers()
    code, _, err = ended(killing.cluster.start(killing.words))
    assert code == 0, err
    killing.check(most=4)
