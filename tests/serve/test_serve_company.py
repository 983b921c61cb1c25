"""Many at once: who waits, who goes first, who goes away, who reads slowly, and how it all ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from served import QUESTION, Served

LONG: dict[str, Any] = {"ignore_eos": True, "seed": 1}
KEYS = "alice: sk-alice-0123456789abcdef\nbob: sk-bob-0123456789abcdef-bob\n"
ALICE = {"Authorization": "Bearer sk-alice-0123456789abcdef"}
BOB = {"Authorization": "Bearer sk-bob-0123456789abcdef-bob"}


def events(reply: requests.Response) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in reply.iter_lines() if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_the_first_byte_comes_long_before_the_end(server: Served) -> None:
    """For a strategy that knows its answer only when all votes are in."""
    began = time.monotonic()
    reply = server.post(model="pocket+vote(n=8)", stream=True, stream_reply=True, max_tokens=60, **LONG)
    lines = reply.iter_lines()
    first = json.loads(next(lines).removeprefix(b"data: "))
    early = time.monotonic() - began
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert any(b'"finish_reason":"length"' in line for line in lines)
    assert early < 0.5 * (time.monotonic() - began)


def test_text_comes_while_it_is_written(server: Served) -> None:
    """The first words are here while the engine is still at work, and the others come bit by bit."""
    reply = server.post(stream=True, stream_reply=True, max_tokens=700, **LONG)
    lines = reply.iter_lines(chunk_size=1)
    has_text = lambda line: b'"content":"' in line and b'"content":""' not in line  # noqa: E731
    assert next(filter(has_text, lines))
    assert server.metric("running") == 1
    assert sum(map(has_text, lines)) > 10


def test_branches_are_told_as_they_grow(server: Served) -> None:
    asked: dict[str, Any] = {"model": "pocket+vote(n=3)", "seed": 6}
    told = events(server.post(stream=True, progress=True, stream_reply=True, **asked))
    news = [e["outthink"]["progress"] for e in told if "progress" in e.get("outthink", {})]
    assert len(news) > 3 and [n["written"] for n in news] == sorted(n["written"] for n in news)
    texts: dict[str, str] = {}
    for branch in [b for n in news for b in n["branches"]]:
        texts[branch["branch"]] = ("" if branch.get("again") else texts.get(branch["branch"], "")) + branch[
            "text"
        ]
    ends = {b["branch"]: b["ended"] for n in news for b in n["branches"] if "ended" in b}
    whole = server.post(**asked).json()
    assert set(texts) == {"", "0", "1", "2"} == set(ends)
    assert whole["choices"][0]["message"]["content"] in texts.values()
    content = "".join(e["choices"][0]["delta"].get("content", "") for e in told if e["choices"])
    assert content == whole["choices"][0]["message"]["content"]
    best = [n["best"] for n in news if "best" in n][-1]
    assert best["final"] == whole["outthink"]["answers"][0]["final"]
    quiet = events(server.post(stream=True, stream_reply=True, **asked))
    assert not [e for e in quiet if not e["choices"]]


def test_branches_that_a_search_drops_are_told_to_end(server: Served) -> None:
    asked: dict[str, Any] = {"strategy": "beam(verifier=likelihood(), width=2)", "max_tokens": 60}
    told = events(server.post(stream=True, progress=True, stream_reply=True, seed=2, **asked))
    news = [b for e in told for b in e.get("outthink", {}).get("progress", {}).get("branches", [])]
    ends = {b["branch"]: b["ended"] for b in news if "ended" in b}
    assert ends.keys() == {b["branch"] for b in news} and set(ends.values()) == {"done", "dropped"}


def test_who_goes_away_is_noticed(server: Served) -> None:
    """That its work ends at once, and not at its cap, is shown where no clock runs (test_serve_streams)."""
    for kind in ({"stream": True, "stream_reply": True}, {}):
        assert server.settles("live_branches", 0)
        gone = server.metric("disconnects_total")
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            body = {"model": "pocket", "messages": [{"role": "user", "content": QUESTION}], "n": 8, **LONG}
            body["max_tokens"] = 1500
            text = json.dumps(body | {k: v for k, v in kind.items() if k == "stream"}).encode()
            head = (
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            )
            raw.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
            assert server.settles("live_branches", 9)
        assert server.settles("live_branches", 0) and server.metric("running") == 0
        assert server.metric("disconnects_total") == gone + 1
    assert not [line for line in server.log if "never retrieved" in line or "Traceback" in line]


def test_a_slow_reader_holds_nobody_up(server: Served) -> None:
    """One stops reading in the middle of a long stream; others are served, and it gets the rest later."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", server.port))
        body = {
            "model": "pocket",
            "messages": [{"role": "user", "content": QUESTION}],
            "stream": True,
            "n": 3,
        }
        body |= {"logprobs": True, "top_logprobs": 20, "max_tokens": 200, **LONG}
        text = json.dumps(body).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Connection: close\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
        assert raw.recv(15) == b"HTTP/1.1 200 OK"
        assert server.settles("running", 0)  # the engine is done with it
        assert server.post(max_tokens=3).status_code == 200
        received = b""
        while part := raw.recv(65536):
            received += part
    assert (
        received.count(b'"top_logprobs"') == 600
        and received.rstrip().endswith(b"0")
        and b"[DONE]" in received
    )


def test_seconds_bind(server: Served) -> None:
    reply = server.post(n=2, budget={"seconds": 0.3}, **LONG).json()
    assert reply["outthink"]["receipt"]["finish"] == "budget: seconds=0.3 in run"


def test_no_key_finds_what_another_sent_in_the_cache(start: Callable[..., Served], tmp_path: Path) -> None:
    """A clock would tell it what others asked."""
    file = tmp_path / "keys.txt"
    file.write_text(KEYS)
    server = start("--keys", str(file))
    spent = []
    for who in (ALICE, ALICE, BOB):
        reply = server.post(max_tokens=2, temperature=0, headers=who)
        spent.append(reply.json()["outthink"]["receipt"]["actual"]["positions"])
    assert spent[1] < spent[0] == spent[2]


def test_the_line_keys_and_a_graceful_end(start: Callable[..., Served], tmp_path: Path) -> None:
    """One server of one place: what waits, what is refused, who goes first, what is logged, how it ends."""
    file = tmp_path / "keys.txt"
    file.write_text(KEYS)
    server = start("--keys", str(file), "--max-running", "1", "--max-waiting", "2", "--grace", "1.5")
    metric = lambda name: _metric(server, name)  # noqa: E731
    for given in ({}, {"Authorization": "Bearer sk-alice-0123456789abcdeX"}, {"Authorization": "Bearer "}):
        reply = server.post(headers=given)
        assert reply.status_code == 401 and reply.json()["error"]["code"] == "invalid_api_key"
    assert requests.get(f"{server.url}/metrics", timeout=60).status_code == 401
    assert requests.get(f"{server.url}/health", timeout=60).status_code == 200
    assert server.post(headers=BOB, temperature=QUESTION).status_code == 400
    assert server.post(headers=BOB, model=f"pocket+{QUESTION}").status_code == 400

    with ThreadPoolExecutor(8) as pool:
        one = pool.submit(server.post, headers=ALICE, max_tokens=300, **LONG)
        _until(lambda: metric("running") == 1)
        waiting = [pool.submit(server.post, headers=who, max_tokens=2, **LONG) for who in (ALICE, BOB)]
        _until(lambda: metric("waiting") == 2)
        refused = server.post(headers=BOB, max_tokens=2)
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "queue_full"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert server.post(headers=ALICE, max_tokens=2).status_code == 429
        assert one.result().json()["usage"]["completion_tokens"] == 300
        assert [w.result().status_code for w in waiting] == [200, 200]

        patient = pool.submit(server.post, headers=ALICE, max_tokens=400, priority=5, **LONG)
        _until(lambda: metric("running") == 1)
        urgent = server.post(headers=BOB, max_tokens=5, priority=-5)
        assert urgent.status_code == 200 and not patient.done()  # it did not wait for its place
        assert patient.result().json()["usage"]["completion_tokens"] == 400

        endless = pool.submit(server.post, headers=ALICE, n=4, **LONG)
        _until(lambda: metric("running") == 1)
        handed_back = pool.submit(server.post, headers=BOB, max_tokens=5)
        _until(lambda: metric("waiting") == 1)
        server.process.send_signal(signal.SIGTERM)
        assert handed_back.result().status_code == 503 and "Retry-After" in handed_back.result().headers
        cut = endless.result()
        assert cut.status_code == 200 and cut.json()["outthink"]["receipt"]["finish"] == "budget: shutdown"
        assert all(len(c["message"]["content"]) > 50 for c in cut.json()["choices"])
        assert server.wait() == 0
    log = "".join(server.log)
    assert re.search(r"POST /v1/chat/completions 200 .* bob", log)
    assert "sk-" not in log and "Mia" not in log and "coins" not in log


def test_caps_on_cache_and_the_death_of_the_engine(start: Callable[..., Served]) -> None:
    server = start("--max-cache", "0.01", "--cache", "0.05")
    most = 0.01 * server.metric("cache_slots")
    reply = server.post(n=8, max_tokens=1500, **LONG).json()
    assert reply["outthink"]["receipt"]["finish"] == f"budget: cache={most:.0f} slots in run"
    assert most < reply["usage"]["completion_tokens"] + 29 < most + 8 * 40  # it is looked at every 16 turns
    assert [c["finish_reason"] for c in reply["choices"]] == ["length"] * 8
    assert all(c["message"]["content"] for c in reply["choices"])  # what was written stands

    [engine] = _children(server.process.pid)
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(server.post, **LONG)
        assert server.settles("running", 1)
        os.kill(engine, signal.SIGKILL)
        assert (
            lost.result().status_code == 503
            and "engine has stopped" in lost.result().json()["error"]["message"]
        )
    assert server.wait() == 1
    assert "the engine's process has died" in server.log[-1]


def _metric(server: Served, name: str) -> float:
    text = requests.get(f"{server.url}/metrics", headers=ALICE, timeout=30).text
    return float(re.findall(rf"^outthink_{name} (\S+)$", text, re.MULTILINE)[0])


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    """Its processes, but for the one that tracks resources."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found
