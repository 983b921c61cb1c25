"""A server in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import requests

SOURCE = Path(__file__).resolve().parents[2] / "src"
QUESTION = "Mia has 14 coins. She buys 3 bags of 6 coins. How many coins does Mia have?"


class Served:
    """A server that runs, and what it has said."""

    def __init__(self, *options: str) -> None:
        paths = [str(SOURCE), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "outthink", "serve", "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.wait_for(r"http://[^ ]*:(\d+)")[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)

    def wait_for(self, pattern: str, seconds: float = 120) -> re.Match[str]:
        """A line of the log that the pattern is found in."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.log):
                if found := re.search(pattern, line):
                    return found
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the server never said {pattern}:\n{''.join(self.log)}")

    def metric(self, name: str) -> float:
        """One number of /metrics."""
        text = requests.get(f"{self.url}/metrics", timeout=30).text
        [value] = re.findall(rf"^outthink_{name} (\S+)$", text, re.MULTILINE)
        return float(value)

    def settles(self, name: str, value: float, seconds: float = 20) -> bool:
        """Whether a metric comes to a value."""
        end = time.monotonic() + seconds
        while self.metric(name) != value:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def post(self, path: str = "/v1/chat/completions", **given: Any) -> requests.Response:
        """A chat, unless `path` says otherwise."""
        keywords = {k: given.pop(k) for k in ("headers", "stream_reply") if k in given}
        stream = keywords.pop("stream_reply", False)
        body = {"model": "pocket"} | given
        if path.endswith("chat/completions"):
            body.setdefault("messages", [{"role": "user", "content": QUESTION}])
        return requests.post(self.url + path, json=body, timeout=120, stream=stream, **keywords)

    def client(self, **given: Any) -> Any:
        """The client that everybody has."""
        import openai

        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120, **given)

    def end(self, seconds: float = 60) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 60) -> int:
        """Its exit code, once it has ended."""
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(5)
            assert self.process.stderr is not None
            self.process.stderr.close()
