"""Starting and ending: the engine's process, the socket, the HTTP loop."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from outthink.core.errors import BadInput, OutthinkError
from outthink.serve.app import Server
from outthink.serve.gateway import Gateway
from outthink.serve.line import Line
from outthink.serve.metrics import Metrics
from outthink.serve.settings import Settings
from outthink.serve.wire import Failed, Ready, receive


def serve(load: Callable[[], Any], settings: Settings, host: str, port: int) -> int:
    """Serve until SIGINT or SIGTERM; the exit code. Raises BadInput for what cannot be started.

    `load` makes the engine, in its own process.
    """
    listening = _listen(host, port)
    ours, theirs = socket.socketpair()
    engine = multiprocessing.get_context("spawn").Process(target=engine_process, args=(theirs, load))
    engine.start()
    theirs.close()
    try:
        ready = receive(ours)
        if not isinstance(ready, Ready):
            raise BadInput(ready.message if isinstance(ready, Failed) else "the engine's process has died")
        return _run(ours, ready, settings, listening)
    finally:
        listening.close()
        ours.close()  # which ends the engine, should it not have heard that it may
        engine.join(10)
        if engine.is_alive():
            engine.kill()


def engine_process(end: socket.socket, load: Callable[[], Any]) -> None:
    """What the engine's process runs."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for the HTTP process, which tells us to quit
    from outthink.serve.engine_side import work  # torch stays out of the HTTP process

    work(end, load)


def _listen(host: str, port: int) -> socket.socket:
    made = None
    try:
        [family, *_], *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        if made is not None:
            made.close()
        raise BadInput(f"cannot listen at {host}:{port}: {error}") from None
    return made


def _run(end: socket.socket, ready: Ready, settings: Settings, listening: socket.socket) -> int:
    gateway = Gateway(Line(settings.max_running, settings.max_waiting), Metrics())
    server = Server(gateway, settings, ready)
    end.setblocking(False)
    app = server.app(lambda: gateway.connect(end))
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(settings.grace + 10),
    )
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    hello = f"outthink serves {server.model} at http://{shown}:{port}"
    running = Graceful(config, gateway, settings.grace, hello)
    running.run([listening])
    if not gateway.is_alive and not running.is_told:
        raise OutthinkError("the engine's process has died; everything it had was answered with an error")
    return 0


class Graceful(uvicorn.Server):
    """At a signal no more is taken, what waits is handed back, and what runs may finish, for a time."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, grace: float, hello: str) -> None:
        super().__init__(config)
        self.hello = hello
        self.gateway = gateway
        self.grace = grace
        self.is_told = False
        gateway.on_death = self._engine_died

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # the second time
        self.should_exit = self.is_told = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self.hello, file=sys.stderr, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.gateway.is_draining = True
        self.gateway.hand_back()
        cutting = asyncio.create_task(self._cut())
        await super().shutdown(sockets)
        cutting.cancel()

    async def _cut(self) -> None:
        await asyncio.sleep(self.grace)
        self.gateway.finish("shutdown")

    def _engine_died(self) -> None:
        self.should_exit = True
