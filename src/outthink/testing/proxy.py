"""A proxy that breaks what passes through it, in a way of the test's choosing.

delay          the answer comes late                     drop, drop_late   the connection closes before the
429, 500, 503  refused, not passed on                                      request is passed on, or after it
half_json      an event ends in its middle               cut               the bytes end in the middle of one
long_length    the content-length is more than comes     short_length      ... less than there was
no_logprobs    left out                                  no_usage, no_done left out
mute           nothing comes for a long time
"""

from __future__ import annotations

import http.client
import json
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

FAULTS = (
    *("delay", "drop", "drop_late", "429", "500", "503", "half_json", "cut"),
    *("long_length", "short_length", "no_logprobs", "no_usage", "no_done", "mute"),
)
DELAY, MUTE = 0.05, 30.0  # seconds
Plan = Callable[[int, str], str]  # (number of the request, its path) -> a fault, or ""


class Proxy:
    """`with Proxy(endpoint.url, plan) as proxy: proxy.url`. `plan` may be changed at any time."""

    def __init__(self, upstream: str, plan: Plan = lambda number, path: "") -> None:
        self.upstream = urlsplit(upstream)
        self.plan = plan
        self.done: Counter[str] = Counter()  # faults that were made
        self.number = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{self.upstream.path}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def choose(self, path: str) -> str:
        """The fault of the next request."""
        with self.lock:
            self.number += 1
            fault = self.plan(self.number, path)
            if fault:
                self.done[fault] += 1
        return fault


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error here."""


class _Handler(socketserver.StreamRequestHandler):
    """One request on one connection."""

    proxy: Proxy

    def handle(self) -> None:
        line = self.rfile.readline().decode()
        if not line:
            return None
        method, path, _ = line.split(" ", 2)
        headers = http.client.parse_headers(self.rfile)
        body = self.rfile.read(int(headers.get("content-length", 0)))
        fault = self.proxy.choose(path) if method == "POST" else ""
        if fault == "delay":
            time.sleep(DELAY)
        if fault == "drop":
            return self._slam()
        if fault in ("429", "500", "503"):
            return self._send(
                int(fault), "application/json", json.dumps({"error": {"message": "planned"}}).encode()
            )
        if fault == "mute":
            self.proxy.closing.wait(MUTE)
            return None
        status, kind, answer = self._forward(method, path, dict(headers), body)
        if fault == "drop_late":
            return self._slam()
        return self._reply(fault, status, kind, answer)

    def _forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, str, bytes]:
        """Ask upstream, and read all of the answer."""
        up = http.client.HTTPConnection(
            self.proxy.upstream.hostname or "", self.proxy.upstream.port, timeout=60
        )
        kept = {k: v for k, v in headers.items() if k.lower() in ("content-type", "authorization")}
        try:
            up.request(method, path, body, kept)
            response = up.getresponse()
            return response.status, response.getheader("content-type", ""), response.read()
        finally:
            up.close()

    def _reply(self, fault: str, status: int, kind: str, answer: bytes) -> None:
        if fault in ("no_logprobs", "no_usage", "no_done"):
            answer = _without(fault, answer)
        if fault == "cut":
            return self._send(status, kind, answer[: len(answer) * 2 // 3], declared=None)
        if fault == "half_json":
            events = answer.split(b"\n\n")
            middle = len(events) // 2
            torn = b"\n\n".join([*events[:middle], events[middle][: len(events[middle]) // 2]])
            return self._send(status, kind, torn + b"\n\n", declared=None)
        if fault == "short_length":
            return self._send(status, kind, answer[: len(answer) // 2])
        declared = len(answer) + 100 if fault == "long_length" else len(answer)
        return self._send(status, kind, answer, declared)

    def _send(self, status: int, kind: str, data: bytes, declared: int | None = -1) -> None:
        """An answer; `declared` is the content-length that is claimed, None for none."""
        length = len(data) if declared == -1 else declared
        head = f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nConnection: close\r\n"
        head += f"Content-Length: {length}\r\n" if length is not None else ""
        head += "Retry-After: 0.02\r\n" if status in (429, 503) else ""
        self.wfile.write(head.encode() + b"\r\n" + data)
        self.wfile.flush()

    def _slam(self) -> None:
        """Close so that the other side sees a reset."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()


def _without(fault: str, answer: bytes) -> bytes:
    """An answer with one thing left out."""
    events = []
    for event in answer.split(b"\n\n"):
        data = event.removeprefix(b"data: ")
        if fault == "no_done" and data == b"[DONE]":
            continue
        try:
            found = json.loads(data)
        except ValueError:
            events.append(event)
            continue
        if fault == "no_usage":
            found.pop("usage", None)
        for choice in found.get("choices", []) if fault == "no_logprobs" else []:
            choice.pop("logprobs", None)
        head = b"data: " if event.startswith(b"data: ") else b""
        events.append(head + json.dumps(found).encode())
    return b"\n\n".join(events)
