"""A load test of `outthink serve` on this machine, beside the same engine without a server.

python -m benchmarks.serving [--seconds 60] [--clients 64] [--model pocket] [--threads 1] [--rounds 1]
                             [--theirs PROGRAM] [--out benchmarks/SERVING.md]

So many clients stream at a time, and each asks again as soon as it has its answer. Before and after, the
engine alone, in a process of its own, keeps as many of the same requests in work for the same time. Reported:
tokens a second of both and their ratio; the same per second of processor time, which other work on the
machine changes little; time to the first text; errors; the memory of the server's processes over time; and
the same clients on `transformers serve` with the same weights, where `--theirs` says which program that is
(by default the one that `make test-remote` installs).
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

from benchmarks import machine, report, serving_theirs
from outthink.bench import tasks

HERE = Path(__file__).parent
THEIRS = HERE.parent / ".venv-clients" / "bin" / "transformers"
MAIN = 100 * 2**20  # bytes: of the server's children, the engine's process has more


@dataclass
class Tally:
    """What the clients saw."""

    written: int = 0
    answers: int = 0
    errors: list[str] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)  # seconds to the first text
    memory: list[tuple[int, int]] = field(default_factory=list)  # bytes, every second: HTTP process, engine
    engine: float = 0.0  # processor seconds of its two processes
    http: float = 0.0


@dataclass(frozen=True)
class Round:
    """Engine, server, engine."""

    tally: Tally
    seconds: float
    before: tuple[float, float]  # tokens a second by the clock, and per second of processor time
    after: tuple[float, float]

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tally.written / self.seconds

    @property
    def ratios(self) -> tuple[float, float]:
        """The server's speed as a share of the engine's, by clock and by the engine's processor time."""
        clock, work = ((a + b) / 2 for a, b in zip(self.before, self.after, strict=True))
        return self.speed / clock, self.tally.written / max(self.tally.engine, 1e-9) / work


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
    reply: dict[str, Any] = json.loads(last) if last else {"error": "cut short"}
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
        [engine] = [child for child in children(pid) if memory(child) > MAIN]
        while time.perf_counter() < end:
            tally.memory.append((memory(pid), memory(engine)))
            await asyncio.sleep(1.0)

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
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(memory: list[tuple[int, int]]) -> float:
    """Bytes a second in the second half of the time, both processes: the slope of a fitted line."""
    late = [float(sum(pair)) for pair in memory[len(memory) // 2 :]]
    if len(late) < 3:
        return float("nan")
    fit = statistics.linear_regression(range(len(late)), late)
    return fit.slope


def processor(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def server(given: argparse.Namespace) -> tuple[Tally, float]:
    """Start a server, load it, end it."""
    command = [sys.executable, "-m", "outthink", "serve", "--port", "0", "--quiet", "--model", given.model]
    command += ["--threads", str(given.threads), "--cache", str(given.cache)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
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
    parser.add_argument("--theirs", default=str(THEIRS), help="transformers' program; empty: leave it out")
    parser.add_argument("--out", type=Path, default=HERE / "SERVING.md")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # the other process
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if given.alone:
        print(*alone(given))
        return
    watch = machine.Watch()
    with watch.section("outthink serve and its engine alone"):
        rounds = [one_round(given) for _ in range(given.rounds)]
    theirs = None
    if given.theirs and Path(given.theirs).exists():
        with watch.section("transformers serve"):
            theirs = serving_theirs.measure(given, questions())
    text = document(given, rounds, theirs, watch)
    report.write(given.out, text)
    print(text)


def one_round(given: argparse.Namespace) -> Round:
    """Engine, server, engine."""
    before = _alone()
    tally, seconds = server(given)
    return Round(tally, seconds, before, _alone())


def document(
    given: argparse.Namespace, rounds: list[Round], theirs: serving_theirs.Seen | None, watch: machine.Watch
) -> str:
    """What is written to the file."""
    clock, work = (statistics.median(r.ratios[i] for r in rounds) for i in range(2))
    errors = [error for r in rounds for error in r.tally.errors]
    grown = max(growth(r.tally.memory) for r in rounds)
    median, most = _waits([first for r in rounds for first in r.tally.firsts])
    command = " ".join(Path(word).name if "/" in word else word for word in sys.argv[1:])  # of any machine
    parts = [
        "# Serving",
        f"Written by `python -m benchmarks.serving {command}`: {given.clients} clients at a time for "
        f"{given.seconds:g} s, {given.model}, {given.threads} thread(s), a cache of {given.cache:g} GiB.",
        "\n".join(f"- {line}" for line in (*machine.describe(), *watch.lines())),
        report.table(
            ["what", "target", "measured"],
            [
                ["errors", "0", f"{len(errors)} {' '.join(errors[:2])}".strip()],
                ["tokens a second, share of the engine alone", "0.85", f"{clock:.2f}"],
                ["the same per second of the engine's processor time", "", f"{work:.2f}"],
                ["processor time a token: HTTP, engine, engine alone", "", _costs(rounds)],
                ["memory, growth in the second half", "flat", f"{grown / 2**20:+.2f} MiB/s"],
                ["first text, median", "", f"{1000 * median:.0f} ms"],
                ["first text, p99", "", f"{1000 * most:.0f} ms"],
            ],
        ),
        "## Rounds",
        report.table(
            ["tokens/s", "engine alone, before and after", "answers", "HTTP process", "memory, MiB"],
            [_row(r) for r in rounds],
        ),
        "Memory: HTTP process + engine's process at a tenth, a half and the end of the time.",
        "## transformers serve, the same weights and clients",
        serving_theirs.told(theirs, statistics.median(r.speed for r in rounds), median, most),
    ]
    return "\n\n".join(parts) + "\n"


def _costs(rounds: list[Round]) -> str:
    """Microseconds of processor time for a token, medians over the rounds."""
    http = statistics.median(r.tally.http / max(r.tally.written, 1) for r in rounds)
    engine = statistics.median(r.tally.engine / max(r.tally.written, 1) for r in rounds)
    alone = statistics.median(2 / (r.before[1] + r.after[1]) for r in rounds)
    return ", ".join(f"{1e6 * seconds:.0f} us" for seconds in (http, engine, alone))


def _row(one: Round) -> list[str]:
    seen = one.tally.memory
    shown = [seen[int(share * (len(seen) - 1))] for share in (0.1, 0.5, 1.0)]
    return [
        f"{one.speed:.0f}",
        f"{one.before[0]:.0f}, {one.after[0]:.0f}",
        str(one.tally.answers),
        f"{one.tally.http / one.seconds:.2f} cores",
        ", ".join(f"{http / 2**20:.0f} + {engine / 2**20:.0f}" for http, engine in shown),
    ]


def _waits(firsts: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    firsts = sorted(firsts) or [float("nan")]
    return statistics.median(firsts), firsts[int(0.99 * (len(firsts) - 1))]


def _alone() -> tuple[float, float]:
    """The engine in a process of its own, as the server has it."""
    command = [sys.executable, "-m", "benchmarks.serving", "--alone", *sys.argv[1:]]
    speed, work = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(speed), float(work)


if __name__ == "__main__":
    main()
