"""A load test of `outthink serve` on this machine, beside the same engine without a server.

python -m benchmarks.serving [--seconds 60] [--clients 64] [--model pocket] [--threads 1] [--rounds 1]

So many clients stream at a time, and each asks again as soon as it has its answer. Before and after, the
engine alone, in a process of its own, keeps as many of the same requests in work for the same time. Reported:
tokens a second of both and their ratio; the same per second of processor time, which other work on the
machine changes little; time to the first text; errors; the memory of the server's processes over time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from itertools import count, cycle
from pathlib import Path
from typing import Any

from outthink.bench import tasks


@dataclass
class Tally:
    """What the clients saw."""

    written: int = 0
    answers: int = 0
    errors: list[str] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)  # seconds to the first text
    memory: list[int] = field(default_factory=list)  # bytes, all processes of the server
    engine: float = 0.0  # processor seconds of its two processes
    http: float = 0.0


@cache
def questions() -> list[str]:
    """What is asked, made before any clock runs."""
    return [tasks.load("steps").problem("test", i).prompt for i in range(2000)]


def body(index: int, given: argparse.Namespace) -> dict[str, Any]:
    """Request number `index`."""
    chat = [{"role": "user", "content": questions()[index % len(questions())]}]
    stream = {"stream": True, "stream_options": {"include_usage": True}} if not given.whole else {}
    return {"model": given.model, "messages": chat, "seed": index, "max_tokens": 200, **stream}


async def client(port: int, given: argparse.Namespace, end: float, numbers: Any, tally: Tally) -> None:
    """One that asks until the time is up, on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end:
        text = json.dumps(body(next(numbers), given)).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        began = time.perf_counter()
        writer.write(f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text)
        status = await reader.readline()
        headers = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", headers, re.IGNORECASE)
        if length:
            last = await reader.readexactly(int(length[1]))
        else:
            last = await _chunks(reader, began, tally)
        _count(status, last, tally)
    writer.close()


async def _chunks(reader: asyncio.StreamReader, began: float, tally: Tally) -> bytes:
    """Read a chunked body; the event before the last one, which holds the usage."""
    has_text, kept = False, b""
    while size := int(await reader.readline(), 16):
        part = await reader.readexactly(size + 2)
        if not has_text and b'"content":"' in part.replace(b'"content":""', b""):
            has_text = True
            tally.firsts.append(time.perf_counter() - began)
        kept = kept[-20_000:] + part[:-2]
    await reader.readline()
    events = [e for e in kept.split(b"\n\n") if e.startswith(b"data: {")]
    return events[-1].removeprefix(b"data: ") if kept.rstrip().endswith(b"[DONE]") else b""


def _count(status: bytes, last: bytes, tally: Tally) -> None:
    reply = json.loads(last) if last else {"error": "cut short"}
    if b" 200 " not in status or "error" in reply:
        tally.errors.append(f"{status!r} {str(reply)[:200]}")
        return
    tally.answers += 1
    tally.written += reply["usage"]["completion_tokens"]


async def load_test(port: int, pid: int, given: argparse.Namespace) -> tuple[Tally, float]:
    """All clients at a time; what they saw, and the seconds it took."""
    tally, numbers = Tally(), count()
    questions()
    began = time.perf_counter()
    end = began + given.seconds

    async def weigh() -> None:
        for share in (0.2, 0.6, 1.0):
            await asyncio.sleep(max(0.0, began + share * given.seconds - time.perf_counter()))
            tally.memory.append(memory(pid))

    before = processor(pid), max(map(processor, children(pid)))
    await asyncio.gather(weigh(), *(client(port, given, end, numbers, tally) for _ in range(given.clients)))
    tally.http = processor(pid) - before[0]
    tally.engine = max(map(processor, children(pid))) - before[1]
    return tally, time.perf_counter() - began


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    found = [(t / "children").read_text().split() for t in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for some in found for child in some]


def memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(memory, children(pid)))


def processor(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def server(given: argparse.Namespace) -> tuple[Tally, float]:
    """Start a server, load it, end it."""
    command = [sys.executable, "-m", "outthink", "serve", "--port", "0", "--quiet", "--model", given.model]
    process = subprocess.Popen([*command, "--threads", str(given.threads)], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        port = int(re.findall(r":(\d+)$", process.stderr.readline().strip())[0])
        return asyncio.run(load_test(port, process.pid, given))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def alone(given: argparse.Namespace) -> tuple[float, float]:
    """Tokens a second, and per second of processor time, of the engine without a server."""
    import outthink as ot
    from outthink.engine.request import Request

    lm = ot.load(given.model, threads=given.threads, cache=given.cache)
    sampling = ot.Sampling(temperature=1.0, max_tokens=200)
    asked = (
        Request(ot.strategy.Once(), question, seed=i, sampling=sampling)
        for i, question in enumerate(cycle(questions()))
    )
    written, began, worked = 0, time.perf_counter(), time.process_time()
    for done in lm.map(asked, given.clients):
        assert done.answer is not None and done.answer.receipt is not None
        written += done.answer.receipt.logical.written
        if time.perf_counter() - began > given.seconds:
            break
    return written / (time.perf_counter() - began), written / (time.process_time() - worked)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=float, default=0.05, help="GiB; small, so that it is full soon")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--whole", action="store_true", help="clients that do not stream")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # the other process
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if given.alone:
        print(*alone(given))
        return
    rounds = [one_round(given) for _ in range(given.rounds)]
    wall, work = (statistics.median(ratios) for ratios in zip(*rounds, strict=True))
    print(f"server to engine alone: {wall:.2f} by the clock, {work:.2f} by processor time")


def one_round(given: argparse.Namespace) -> tuple[float, float]:
    """Engine, server, engine: the server's speed as a share of the engine's, by clock and processor time."""
    before = _alone()
    tally, seconds = server(given)
    after = _alone()
    speed, work = tally.written / seconds, tally.written / tally.engine
    print(f"tokens/s: server {speed:.0f}, engine alone {before[0]:.0f} and {after[0]:.0f}")
    told = f"server {work:.0f}, engine alone {before[1]:.0f} and {after[1]:.0f}"
    print(f"tokens per processor second: {told}; HTTP process {tally.written / tally.http:.0f}")
    print(f"{tally.answers} answers, {len(tally.errors)} errors {tally.errors[:2]}")
    print(f"load average {os.getloadavg()[0]:.1f}, of which the benchmark is a part")
    firsts = sorted(tally.firsts) or [float("nan")]
    middle, most = statistics.median(firsts), firsts[int(0.99 * (len(firsts) - 1))]
    print(f"first text: median {1000 * middle:.0f} ms, p99 {1000 * most:.0f} ms")
    grown = ", ".join(f"{m / 2**20:.0f}" for m in tally.memory)
    print(f"memory: {grown} MiB at 20, 60 and 100 % of the time")
    return speed / ((before[0] + after[0]) / 2), work / ((before[1] + after[1]) / 2)


def _alone() -> tuple[float, float]:
    """The engine in a process of its own, as the server has it."""
    command = [sys.executable, "-m", "benchmarks.serving", "--alone", *sys.argv[1:]]
    speed, work = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(speed), float(work)


if __name__ == "__main__":
    main()
