"""One thread with an event loop: all that talks to endpoints runs there, and hands results to inboxes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from outthink.backends.remote import wire
from outthink.backends.remote.faults import QUOTA, EndpointError, Fault, of_status
from outthink.backends.remote.fleet import Endpoint

DRAIN = 0.25  # seconds that the end of a stream may take after its last word
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)


class Timeouts(NamedTuple):
    """Seconds."""

    connect: float = 10.0
    silence: float = 120.0  # without a byte, before the first token or between two
    whole: float = 3600.0  # one request

    def for_httpx(self) -> httpx.Timeout:
        return httpx.Timeout(self.silence, connect=self.connect, pool=None)


class Network:
    """The thread, its loop and its connections. It starts with the first call."""

    def __init__(self, timeouts: Timeouts = Timeouts()) -> None:  # noqa: B008 - a tuple
        self.timeouts = timeouts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: httpx.AsyncClient | None = None

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a coroutine on the thread."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="outthink-network", daemon=True
            )
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        """Cancel everything, close connections, end the thread."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._loop = self._thread = self._client = None

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    @property
    def client(self) -> httpx.AsyncClient:
        """On the thread only."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=self.timeouts.for_httpx(), limits=LIMITS, trust_env=False
            )
        return self._client

    async def stream(self, endpoint: Endpoint, request: wire.Request) -> AsyncGenerator[wire.Chunk, None]:
        """Post, and yield what comes: events of a stream, or one whole answer. Raises Fault."""
        where = endpoint.url
        async with self._posted(endpoint, request) as response:
            if "event-stream" not in response.headers.get("content-type", ""):
                yield wire.read_chunk(wire.read_json(await response.aread(), where))
                return
            lines = response.aiter_lines()
            async for line in lines:
                data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if data == "[DONE]":
                    await _drain(lines)
                    return
                if data:
                    yield wire.read_chunk(wire.read_json(data, where))

    async def whole(self, endpoint: Endpoint, request: wire.Request) -> dict[str, Any]:
        """Post, and return the whole answer. Raises Fault."""
        async with self._posted(endpoint, request) as response:
            return wire.read_json(await response.aread(), endpoint.url)

    async def get(self, url: str, headers: dict[str, str]) -> httpx.Response:
        """A page, read. Raises Fault."""
        async with self._guarded(url):
            return await self.client.get(url, headers=headers)

    @asynccontextmanager
    async def _posted(self, endpoint: Endpoint, request: wire.Request) -> AsyncIterator[httpx.Response]:
        async with self._guarded(endpoint.url):
            posting = self.client.stream(
                "POST", endpoint.url + request.path, json=request.body, headers=endpoint.headers
            )
            async with asyncio.timeout(self.timeouts.whole), posting as response:
                if response.status_code != 200:
                    text = (await response.aread()).decode("utf-8", "replace")
                    raise of_status(response.status_code, _message(text), response.headers, endpoint.url)
                yield response

    @asynccontextmanager
    async def _guarded(self, where: str) -> AsyncIterator[None]:
        """Errors of the network as faults."""
        began = time.monotonic()
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Fault(
                EndpointError(f"cannot reach {where}: {error}; is the server up?"),
                is_down=True,
                may_bill=False,
            ) from error
        except (httpx.TimeoutException, TimeoutError) as error:
            waited = time.monotonic() - began
            raise Fault(
                EndpointError(f"{where} was silent: given up after {waited:.0f} s"), is_down=True
            ) from error
        except httpx.InvalidURL as error:
            raise Fault(EndpointError(f"{where}: {error}"), is_final=True, may_bill=False) from error
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise Fault(EndpointError(f"the connection to {where} broke: {said}"), is_down=True) from error


async def _drain(lines: AsyncIterator[str]) -> None:
    """Read a stream to its end, so that its connection can be used again; not for long."""
    try:
        async with asyncio.timeout(DRAIN):
            async for _ in lines:
                pass
    except (httpx.HTTPError, TimeoutError):
        return  # all that was wanted has arrived


def _message(text: str) -> str:
    """The message in the body of an error."""
    try:
        found = wire.json.loads(text)
    except ValueError:
        return text
    error = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(error, dict):
        said = str(error.get("message") or error.get("detail") or error)
        return f"{said} ({QUOTA})" if error.get("code") == QUOTA else said
    return str(error)
