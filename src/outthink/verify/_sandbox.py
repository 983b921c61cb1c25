"""The outside of the sandbox: one process for each test, watched and killed in time."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

INSIDE = Path(__file__).with_name("_sandboxed.py")
MOST_REPORT = 4096  # bytes that are read of what comes out
STARTING = 30.0  # seconds that a process may need to start, on a busy machine


class NoSandbox(Exception):
    """The sandbox could not be set up: nothing was run."""


@dataclass(frozen=True)
class Limits:
    """What code may use. `seconds` is wall time for one test once it runs; memory and files are in MiB."""

    seconds: float
    memory: int
    files: int
    processes: int
    isolate: bool


def passes(code: str, tests: list[str], limits: Limits) -> list[bool]:
    """Whether `code` passes each test, every one in a process of its own. Raises NoSandbox."""
    return [_passes_one(code, test, limits) for test in tests]


def _passes_one(code: str, test: str, limits: Limits) -> bool:
    place = Path(tempfile.mkdtemp(prefix="outthink-"))
    try:
        return _run(place, code, test, limits)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(place: Path, code: str, test: str, limits: Limits) -> bool:
    nonce = secrets.token_hex(16)
    job = {"code": code, "test": test, "nonce": nonce, "root": str(place), **asdict(limits)}
    heard, said = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", str(INSIDE), str(said)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(said,),
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        os.close(said)
        _wait(process, json.dumps(job).encode(), heard, limits.seconds)
        os.set_blocking(heard, False)
        report = _read(heard).decode("utf-8", "replace").split("\n")
    finally:
        os.close(heard)
    if f"{nonce} began" not in report:
        raise NoSandbox(next((line[6:] for line in report if line.startswith("error ")), "it did not begin"))
    return f"{nonce} passed" in report


def _wait(process: subprocess.Popen[bytes], job: bytes, heard: int, seconds: float) -> None:
    """Until it ends, or has had its time from when it began; then everything of its session is killed."""
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(job)
        select.select([heard], [], [], STARTING)  # it begins, or ends without
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, MOST_REPORT)
    except BlockingIOError:
        return b""
