"""The HTTP side of the socket to the engine: calls that wait for their news and answers, and their line."""

from __future__ import annotations

import asyncio
import pickle
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from outthink.serve.line import Entry, Line
from outthink.serve.metrics import Metrics
from outthink.serve.wire import HEAD, Abort, Ask, Ended, Facts, Finish, News, Order, Quit, frame

DRAINING = "the server is shutting down; ask another one"
GONE = "the engine has stopped; the server is restarting or broken"


class Call:
    """One order on its way. News that are not fetched grow together, so a slow client holds nobody up."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.began = time.monotonic()
        self.news: News | None = None
        self.ended: Ended | None = None
        self._waiting: asyncio.Future[bool] | None = None  # of whoever fetches

    def hear(self, message: News | Ended) -> None:
        """Something arrived from the engine."""
        if isinstance(message, Ended):
            self.ended = message
        elif self.news is None:
            self.news = message
        else:
            self.news.add(message)
        _wake(self._waiting, True)

    async def fetch(self, seconds: float | None = None) -> News | Ended | None:
        """The news since the last time, or how it ended, or None after so many seconds of silence.

        A future and a timer of its own, for this is done for every token: `wait_for` makes a task each time.
        """
        if self.news is None and self.ended is None:
            loop = asyncio.get_running_loop()
            waiting = self._waiting = loop.create_future()
            timer = None if seconds is None else loop.call_later(seconds, _wake, waiting, False)
            try:
                if not await waiting:
                    return None
            finally:
                self._waiting = None
                if timer is not None:
                    timer.cancel()
        if self.news is not None:
            news, self.news = self.news, None
            return news
        return self.ended

    async def end(self) -> Ended:
        """How it ended."""
        while not isinstance(found := await self.fetch(), Ended):
            pass
        return found


def _wake(waiting: asyncio.Future[bool] | None, is_heard: bool) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(is_heard)


class Gateway:
    """Sends orders to the engine, when it is their turn, and hands what comes back to their calls."""

    def __init__(self, line: Line, metrics: Metrics) -> None:
        self.line = line
        self.metrics = metrics
        self.calls: dict[int, Call] = {}
        self.is_alive = True
        self.is_draining = False
        self.on_death: Callable[[], None] = lambda: None
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Facts]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None

    async def connect(self, end: socket.socket) -> None:
        """Listen to the engine at the other end."""
        reader, self._writer = await asyncio.open_connection(sock=end)
        self._listener = asyncio.create_task(self._listen(reader))

    def number(self) -> int:
        """The number of a new order."""
        return next(self._numbers)

    def call(self, order: Order) -> Call:
        """Put an order in line. Raises Busy when that is full."""
        self.line.join(Entry(order.number, order.priority, order.share))
        call = self.calls[order.number] = Call(order)
        self._start()
        return call

    def drop(self, call: Call) -> None:
        """Nobody waits for a call any more: what it runs is ended at once."""
        number = call.order.number
        if self.calls.pop(number, None) is None:
            return
        is_running = number in self.line.running
        took = time.monotonic() - call.began if call.ended is not None else None
        self.line.leave(number, took)
        if call.ended is None and is_running:
            self._send(Abort(number))
        self._start()

    def finish(self, what: str) -> None:
        """Have the engine end everything with the best it has; what still waits is handed back."""
        for number in list(self.line.running):
            self._send(Finish(number, what))

    def hand_back(self) -> None:
        """End what waits in line: somebody else may do it."""
        for number in list(self.line.waiting):
            self.line.leave(number)
            self.calls[number].hear(Ended(number, error=DRAINING, status=503))

    async def facts(self, seconds: float = 5.0) -> Facts | None:
        """How the engine is; None if it does not say in time."""
        number = self.number()
        self._asked[number] = asyncio.get_running_loop().create_future()
        self._send(Ask(number))
        try:
            return await asyncio.wait_for(self._asked[number], seconds)
        except TimeoutError:
            return None
        finally:
            self._asked.pop(number, None)

    async def close(self) -> None:
        """Tell the engine to quit, and stop listening."""
        self.is_draining = True
        if self._writer is not None:
            self._send(Quit())
            with suppress(TimeoutError, OSError):
                await asyncio.wait_for(self._writer.drain(), 1.0)
            self._writer.close()
        if self._listener is not None:
            self._listener.cancel()

    def _start(self) -> None:
        while (entry := self.line.next()) is not None:
            self._send(self.calls[entry.number].order)

    def _send(self, message: Any) -> None:
        if self._writer is not None and self.is_alive:
            self._writer.write(frame(message))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                size = HEAD.unpack(await reader.readexactly(HEAD.size))[0]
                for message in pickle.loads(await reader.readexactly(size)):
                    self._hear(message)
        except (asyncio.IncompleteReadError, OSError):
            self._died()

    def _hear(self, message: Any) -> None:
        if isinstance(message, Facts):
            waiting = self._asked.get(message.number)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
            return
        call = self.calls.get(message.number)
        if call is not None:
            call.hear(message)
        if isinstance(message, Ended):
            took = time.monotonic() - call.began if call is not None else None
            self.line.leave(message.number, took)
            self.metrics.ended(message)
            self._start()

    def _died(self) -> None:
        self.is_alive = False
        for number, call in list(self.calls.items()):
            if call.ended is None:
                call.hear(Ended(number, error=GONE, status=503))
        if not self.is_draining:
            self.on_death()
