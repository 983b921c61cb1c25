"""Server-sent events: chunks as they come, signs of life between them, and an end when the client goes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from outthink.serve import replies
from outthink.serve.errors import error_body
from outthink.serve.gateway import Call
from outthink.serve.replies import Form
from outthink.serve.wire import Ended, News, Piece

PATIENCE = 60.0  # seconds that a client may take to read what it was sent
ALIVE = b": alive\n\n"
DONE = b"data: [DONE]\n\n"

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def event(data: Any) -> bytes:
    """One event."""
    return f"data: {encode(data)}\n\n".encode()


async def gone(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Sends what an iterator gives until it ends or its client goes or does not read; then calls `ending`."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], ending: Callable[[], None]) -> None:
        self.events = events
        self.ending = ending
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._since: float | None = None  # when the part began that the client has not taken yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(gone(receive))
        sending = asyncio.create_task(self._send_all(send))
        try:
            while not self._is_stuck():
                ended, _ = await asyncio.wait(
                    {leaving, sending}, timeout=PATIENCE / 10, return_when=asyncio.FIRST_COMPLETED
                )
                if ended:
                    break
        finally:
            for task in (leaving, sending):
                task.cancel()
            await asyncio.gather(leaving, sending, return_exceptions=True)
            await self.events.aclose()  # type: ignore[attr-defined]
            self.ending()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for part in self.events:
            self._since = time.monotonic()
            await send({"type": "http.response.body", "body": part, "more_body": True})
            self._since = None
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _is_stuck(self) -> bool:
        """Looked at now and then: a timer for every token would cost more than the token's text."""
        return self._since is not None and time.monotonic() - self._since > PATIENCE


class Stream:
    """The events of one reply. The calls of several prompts are told one after another."""

    def __init__(self, form: Form, calls: Sequence[Call], alive: float) -> None:
        self.form = form
        self.calls = calls
        self.alive = alive
        self.ended: list[Ended] = []
        self.offsets: dict[int, int] = {}
        self.frames: dict[int, tuple[bytes, bytes]] = {}

    async def events(self, early: News | Ended | None) -> AsyncIterator[bytes]:
        """All of them; `early` is what was heard of the first call already."""
        choices = sum(call.order.n for call in self.calls)
        yield b"".join(event(replies.opening(self.form, i)) for i in range(choices))
        base = 0
        for call in self.calls:
            message = early
            early = None
            while not isinstance(message, Ended):
                yield ALIVE if message is None else self._news(message, base)
                message = await call.fetch(self.alive)
            if message.error:
                yield event(error_body(message.status, message.error)) + DONE
                return
            self.ended.append(message)
            yield self._rest(message, base, is_last=call is self.calls[-1])
            base += call.order.n
        if self.form.with_usage:
            yield event(replies.last(self.form, self.ended))
        yield DONE

    def _news(self, news: News, base: int) -> bytes:
        parts = []
        if news.echo is not None:
            parts = [self._piece(news.echo, base + i) for i in range(self.calls[0].order.n)]
        parts += [self._piece(piece, base + i) for i, piece in news.pieces.items()]
        told = replies.progress(self.form, news)
        return b"".join(parts) + (event(told) if told is not None else b"")

    def _piece(self, piece: Piece, index: int) -> bytes:
        if self.form.logprobs is None:  # all but the text is the same each time
            before, after = self.frames.get(index) or self._frame(index)
            return before + encode(piece.text).encode() + after
        offset = self.offsets.get(index, 0)
        self.offsets[index] = offset + len(piece.text)
        return event(replies.chunk(self.form, index, piece, offset))

    def _frame(self, index: int) -> tuple[bytes, bytes]:
        """What stands before and after the text in a chunk of this choice."""
        mark = f"{self.form.id} "  # nobody who asks can know it
        whole = event(replies.chunk(self.form, index, Piece(mark)))
        before, _, after = whole.partition(encode(mark).encode())
        self.frames[index] = before, after
        return before, after

    def _rest(self, ended: Ended, base: int, is_last: bool) -> bytes:
        parts = []
        for i, choice in enumerate(ended.choices):
            if choice.rest.text or choice.rest.tokens:
                parts.append(self._piece(choice.rest, base + i))
            closing = replies.closing(self.form, base + i, choice.finish)
            if is_last and i == len(ended.choices) - 1:
                closing["outthink"] = replies.ours(self.form, self.ended)
            parts.append(event(closing))
        return b"".join(parts)
