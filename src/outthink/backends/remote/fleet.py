"""Several endpoints as one: who gets a request, how many at a time, and which are out.

A request goes to the endpoint that its prompt ranks first (weighted rendezvous hashing, rank = -weight / ln u
with u a hash of prompt and endpoint), so that equal prompts meet in one prefix cache; to the next one where
that is full, down, or has just failed it.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from outthink.backends.remote.faults import EndpointError, Fault
from outthink.backends.remote.throttle import Throttle
from outthink.core.errors import BadInput
from outthink.core.rng import digest

FAILURES = 3  # in a row, and an endpoint is out
AWAY = 1.0  # seconds, doubled with each further failure


@dataclass(eq=False)
class Endpoint:
    """One URL, its model, and how it does."""

    url: str  # up to and with /v1
    model: str
    weight: float = 1.0
    key: str = field(default="", repr=False)
    throttle: Throttle = field(default_factory=lambda: Throttle(64), repr=False)
    in_flight: int = 0
    failures: int = 0
    out_until: float = float("-inf")
    served: int = 0

    def is_full(self, now: float) -> bool:
        return self.in_flight >= self.throttle.room

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


def parse_fleet(text: str, most: int = 64, environment: Mapping[str, str] = os.environ) -> list[Endpoint]:
    """`URL#model`, several parted by commas, each with `*WEIGHT` if they are not alike."""
    found = [_parse(part.strip(), most, environment) for part in text.split(",") if part.strip()]
    if not found:
        raise BadInput("give an endpoint such as http://localhost:8000/v1#model")
    return found


def _parse(text: str, most: int, environment: Mapping[str, str]) -> Endpoint:
    url, _, model = text.partition("#")
    model, star, weight = model.rpartition("*") if re.search(r"\*[\d.]+$", model) else (model, "", "1")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadInput(f"{text!r} is no endpoint: give http://HOST:PORT/v1#MODEL")
    if parts.username is not None:  # it would be in every receipt
        raise BadInput(f"{parts.hostname}: give a key by the environment (OUTTHINK_API_KEY), not in the URL")
    if star and not float(weight) > 0:
        raise BadInput(f"{text!r}: a weight is above 0")
    path = parts.path.rstrip("/") or "/v1"
    key = key_for(parts.netloc, environment)
    return Endpoint(f"{parts.scheme}://{parts.netloc}{path}", model, float(weight), key, Throttle(most))


def key_for(host: str, environment: Mapping[str, str]) -> str:
    """The key of a host: its own variable, the general one, and OpenAI's only for the host that it is for."""
    own = "OUTTHINK_API_KEY_" + re.sub(r"[^A-Z0-9]", "_", host.upper())
    openai = urlsplit(environment.get("OPENAI_BASE_URL", "https://api.openai.com/v1")).netloc
    names = [own, "OUTTHINK_API_KEY", *(["OPENAI_API_KEY"] if host == openai else [])]
    return next((environment[name] for name in names if environment.get(name)), "")


def ranked(endpoints: Sequence[Endpoint], key: int) -> list[Endpoint]:
    """Endpoints in the order in which a prompt prefers them."""

    def rank(endpoint: Endpoint) -> float:
        u = (digest(key, endpoint.url, endpoint.model) + 0.5) / 2**64
        return endpoint.weight / math.log(u)

    return sorted(endpoints, key=rank)


class Fleet:
    """Hands out endpoints. Used on the network thread only."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = list(endpoints)
        self.last_error: Exception | None = None
        self._changed = asyncio.Condition()

    async def take(self, key: int, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """An endpoint with room, the best of those that are not to be avoided; waits until there is one."""
        while True:
            now = time.monotonic()
            alive = [e for e in self.endpoints if e.out_until <= now]
            fresh = [e for e in alive if e not in avoid] or alive
            for endpoint in ranked(fresh, key):
                if not endpoint.is_full(now):
                    endpoint.in_flight += 1
                    return endpoint
            if not alive and len(self.endpoints) > 1 and self._is_lost(now):
                raise Fault(
                    EndpointError(f"every endpoint is down: {self.last_error}"), is_final=True, may_bill=False
                )
            ends = [e.out_until - now for e in self.endpoints if e.out_until > now]
            await self._wait(min([1.0, *ends]))

    def _is_lost(self, now: float) -> bool:
        """Whether every endpoint has been out more than once."""
        return all(e.failures > FAILURES for e in self.endpoints)

    async def _wait(self, seconds: float) -> None:
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait(), max(0.01, seconds))
            except TimeoutError:
                return

    async def give_back(self, endpoint: Endpoint) -> None:
        """A request of an endpoint has ended, one way or the other."""
        endpoint.in_flight -= 1
        async with self._changed:
            self._changed.notify_all()

    def served(self, endpoint: Endpoint, first: float) -> None:
        """An endpoint has served a request; its first token took so many seconds."""
        endpoint.failures, endpoint.out_until = 0, float("-inf")
        endpoint.served += 1
        endpoint.throttle.answered(first, time.monotonic())

    def failed(self, endpoint: Endpoint, fault: Fault) -> bool:
        """An endpoint has failed a request; whether it is out by that."""
        now = time.monotonic()
        if fault.is_busy:
            endpoint.throttle.refused(now, endpoint.in_flight)
        if not fault.is_down:
            return False
        self.last_error = fault.error
        endpoint.failures += 1
        if endpoint.failures < FAILURES or endpoint.out_until > now:
            return False
        endpoint.out_until = now + AWAY * 2 ** min(endpoint.failures - FAILURES, 5)
        return True
