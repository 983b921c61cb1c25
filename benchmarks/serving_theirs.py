"""`transformers serve` under the same clients: what they see in so many seconds."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

import outthink as ot

STARTING = 300.0  # seconds


@dataclass
class Seen:
    """Its tokens are counted as chunks with text, one each; texts that were not over in time count too."""

    chunks: int = 0
    answers: int = 0
    errors: list[str] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)  # seconds to the first text
    seconds: float = 0.0


def measure(given: argparse.Namespace, questions: list[str]) -> Seen:
    """Start it with continuous batching, load it, end it."""
    model = ot.embedded()[given.model]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--host", "127.0.0.1", "--continuous-batching", "--device", "cpu"]
    options += ["--dtype", "float32"]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(given.threads),
        "PYTHONPATH": "",
    }
    process = subprocess.Popen(
        [given.theirs, "serve", model, *options],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://127.0.0.1:{port}", process)
        return asyncio.run(_load(f"http://127.0.0.1:{port}", model, given, questions))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + STARTING
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(f"{url}/v1/models", trust_env=False)
            return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise RuntimeError("transformers serve did not start")


async def _load(url: str, model: str, given: argparse.Namespace, questions: list[str]) -> Seen:
    seen, numbers = Seen(), count()
    limits = httpx.Limits(max_connections=given.clients)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=STARTING, limits=limits) as http:
        await _one(http, model, questions[0], 0, Seen())  # loads what is loaded at the first request
        began = time.perf_counter()
        asking = [
            asyncio.create_task(_client(http, model, questions, numbers, seen)) for _ in range(given.clients)
        ]
        await asyncio.sleep(given.seconds)
        seen.seconds = time.perf_counter() - began
        told = Seen(seen.chunks, seen.answers, list(seen.errors), list(seen.firsts), seen.seconds)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return told


async def _client(
    http: httpx.AsyncClient, model: str, questions: list[str], numbers: Any, seen: Seen
) -> None:
    while True:
        number = next(numbers)
        await _one(http, model, questions[number % len(questions)], number, seen)


async def _one(http: httpx.AsyncClient, model: str, question: str, number: int, seen: Seen) -> None:
    chat = [{"role": "user", "content": question}]
    body = {"model": model, "messages": chat, "stream": True, "max_tokens": 200, "seed": number}
    began, first = time.perf_counter(), None
    try:
        async with http.stream("POST", "/v1/chat/completions", json=body) as reply:
            if reply.status_code != 200:
                seen.errors.append(f"{reply.status_code} {(await reply.aread())[:200]!r}")
                return
            async for line in reply.aiter_lines():
                if _has_text(line):
                    seen.chunks += 1
                    first = first or time.perf_counter() - began
    except httpx.HTTPError as error:
        seen.errors.append(type(error).__name__)
        return
    seen.answers += 1
    seen.firsts += [first] if first else []


def _has_text(line: str) -> bool:
    if not line.startswith("data: {"):
        return False
    choices = json.loads(line[6:]).get("choices") or [{}]
    return bool((choices[0].get("delta") or {}).get("content"))


def told(seen: Seen | None, speed: float, median: float, most: float) -> str:
    """A few lines of comparison."""
    if seen is None:
        return "Not measured: its program was not found (make test-remote installs it)."
    theirs = seen.chunks / seen.seconds
    firsts = sorted(seen.firsts) or [float("nan")]
    p99 = firsts[int(0.99 * (len(firsts) - 1))]
    return (
        f"With continuous batching, float32: {theirs:.0f} tokens a second (chunks with text), {seen.answers} "
        f"answers, {len(seen.errors)} errors {seen.errors[:2]}; first text: median "
        f"{1000 * statistics.median(firsts):.0f} ms, p99 {1000 * p99:.0f} ms, of the requests that were over "
        f"in time. `outthink serve`: {speed:.0f} tokens a second ({speed / max(theirs, 1e-9):.1f} times), "
        f"median {1000 * median:.0f} ms, p99 {1000 * most:.0f} ms."
    )
