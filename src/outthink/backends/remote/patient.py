"""The network as a probe uses it: what is asked of a busy endpoint is asked again.

A refusal is an answer to a probe ("this field does not work"), so 429, 5xx and a broken connection, which say
nothing about the field, must not be taken for one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

import httpx

from outthink.backends.remote import wire
from outthink.backends.remote.faults import Fault, backoff, of_status
from outthink.backends.remote.fleet import Endpoint
from outthink.backends.remote.network import Network

T = TypeVar("T")
ATTEMPTS = 5
PATIENCE = 10.0  # seconds after which nothing is asked again: a silent endpoint has taken long enough


class Patient:
    """A network whose requests have several attempts. Raises the Fault of the last."""

    def __init__(self, network: Network) -> None:
        self.network = network

    async def stream(self, endpoint: Endpoint, request: wire.Request) -> AsyncGenerator[wire.Chunk, None]:
        """A stream, whole before its first event is handed on."""

        async def read() -> list[wire.Chunk]:
            return [chunk async for chunk in self.network.stream(endpoint, request)]

        for chunk in await _again(read):
            yield chunk

    async def whole(self, endpoint: Endpoint, request: wire.Request) -> dict[str, Any]:
        """An answer that is not streamed."""
        return await _again(lambda: self.network.whole(endpoint, request))

    async def get(self, url: str, headers: dict[str, str]) -> httpx.Response:
        """A page."""

        async def read() -> httpx.Response:
            found = await self.network.get(url, headers)
            if found.status_code in (429, 503):
                raise of_status(found.status_code, found.text, found.headers, url)
            return found

        return await _again(read)


async def _again(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer, or another attempt would not help."""
    began = time.monotonic()
    for count in range(ATTEMPTS - 1):
        try:
            return await ask()
        except Fault as fault:
            is_refused = fault.is_down and not fault.may_bill  # nobody listens there
            if fault.is_final or is_refused or time.monotonic() - began > PATIENCE:
                raise
            wait = backoff(count, 0.5, fault.wait)
        await asyncio.sleep(wait)
    return await ask()
