"""Log-probabilities of given text, where an endpoint gives them: `echo`, or `prompt_logprobs`."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outthink.backends.remote import wire
from outthink.backends.remote.calls import persist
from outthink.backends.remote.faults import SENT_AGAIN, EndpointError, Fault, sent_again
from outthink.core import rng
from outthink.core.jobs import Bill, Inbox, Scored, ScoreJob
from outthink.core.types import Dist

if TYPE_CHECKING:
    from outthink.backends.openai import OpenAIBackend
    from outthink.backends.remote.fleet import Endpoint

UNEVEN = "the endpoint's tokens part the text in other places: the sum is exact, its parts are not"


@dataclass(eq=False)
class Scoring:
    """One ScoreJob, through all of its attempts."""

    backend: OpenAIBackend
    job: ScoreJob
    inbox: Inbox
    is_sent: bool = False
    seconds: float = 0.0
    read_before: int = 0
    notes: dict[str, str] = field(default_factory=dict)
    future: Future[Any] | None = None

    @property
    def jobs(self) -> list[ScoreJob]:
        return [self.job]

    async def run(self) -> None:
        """Put the result into the inbox, or the error."""
        prompt = self.backend.tokenizer.decode(self.job.tokens[: self.job.origin])
        try:
            key = rng.digest("affinity", prompt)
            await persist(self.backend, key, self.job.number, self._attempt, self._after)
        except Exception as error:
            self.inbox.put(self.job, error)
        finally:
            self.backend.forget(self)

    async def _attempt(self, endpoint: Endpoint) -> None:
        backend, job = self.backend, self.job
        messages = backend.tokenizer.conversation(job.tokens)
        ask = wire.score if job.given else wire.likeliest
        began = time.monotonic()
        self.is_sent = True
        found = await backend.network.whole(
            endpoint, ask(backend.features, endpoint.model, messages, job.top)
        )
        taken = time.monotonic() - began
        self.seconds += taken
        try:
            dists = self._given(found, endpoint) if job.given else (self._next(found, endpoint),)
        except EndpointError as error:
            raise Fault(error, is_final=True) from error
        backend.fleet.served(endpoint, taken)
        self.inbox.put(job, Scored(dists, self._bill(found)))

    def _after(self, fault: Fault) -> bool:
        if fault.may_bill:
            self.read_before += len(self.job.tokens)
            self.notes[SENT_AGAIN] = sent_again("before its scores", fault)
        return True

    def _next(self, found: dict[str, Any], endpoint: Endpoint) -> Dist:
        choices = wire.read_chunk(found).choices
        tokens = choices[0].tokens if choices else ()
        if not tokens or not tokens[0].top:
            raise EndpointError(f"{endpoint.url} left out the top_logprobs that were asked for")
        return Dist(self._numbered(tokens[0]))

    def _given(self, found: dict[str, Any], endpoint: Endpoint) -> tuple[Dist, ...]:
        tokenizer, job = self.backend.tokenizer, self.job
        pieces = [tokenizer.decode([token]) for token in job.tokens[len(job.tokens) - job.given :]]
        scored, is_exact = wire.align(self._tokens(found), pieces, endpoint.url)
        if not is_exact:
            self.notes["scores"] = UNEVEN
        return tuple(Dist(self._numbered(token) if token else (), logprob) for logprob, token in scored)

    def _tokens(self, found: dict[str, Any]) -> list[wire.Token]:
        """The prompt's tokens; what was written after it is left out."""
        if self.backend.features.prompt_logprobs and self.backend.features.style == "chat":
            return wire.read_prompt_logprobs(found)
        chunk = wire.read_chunk(found)
        tokens = list(chunk.choices[0].tokens) if chunk.choices else []
        read = chunk.usage.read if chunk.usage else None
        return tokens[: read or len(tokens) - (self.backend.features.echo or 0)]

    def _numbered(self, token: wire.Token) -> tuple[tuple[int, float], ...]:
        top = token.top[: self.job.top]
        return tuple((self.backend.tokenizer.intern(text), p) for text, p in top)

    def _bill(self, found: dict[str, Any]) -> Bill:
        usage = wire.read_chunk(found).usage
        is_measured = usage is not None and usage.read is not None and not self.read_before
        read = (usage.read if usage and usage.read is not None else len(self.job.tokens)) + self.read_before
        cached = usage.cached if usage else 0
        written = (usage.written if usage else None) or 0
        prices = self.backend.prices
        dollars = prices.dollars(read, cached, written) if prices else 0.0
        return Bill(read, cached, 0, written, dollars, self.seconds, is_measured, tuple(self.notes.items()))
