"""One request to an endpoint on behalf of jobs, through all of its attempts.

attempt:  take an endpoint, stream, hand pieces on as they come
broken:   wait with jitter, and again, elsewhere if there is an elsewhere
          text that had arrived is continued where the endpoint can; else it is void, and written again
bill:     what the endpoint says, and whatever the attempts before may have cost
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outthink.backends.remote import wire
from outthink.backends.remote.faults import SENT_AGAIN, EndpointError, Fault, backoff, sent_again
from outthink.core import rng
from outthink.core.errors import CannotDo
from outthink.core.jobs import Bill, Ended, GenerateJob, Inbox, Piece, Restart

if TYPE_CHECKING:
    from outthink.backends.openai import OpenAIBackend
    from outthink.backends.remote.fleet import Endpoint


@dataclass(eq=False)
class Text:
    """One job of a call, and what has arrived for it."""

    job: GenerateJob
    pieces: list[Piece] = field(default_factory=list)
    reason: str | None = None  # the endpoint's finish_reason
    stopped_on: str = ""
    is_cancelled: bool = False
    late: int = 0  # tokens that came after it was cancelled

    @property
    def is_live(self) -> bool:
        return self.reason is None and not self.is_cancelled


@dataclass(eq=False)
class Call:
    """One request: a job, or several that differ in their seed alone."""

    backend: OpenAIBackend
    texts: list[Text]
    inbox: Inbox
    usage: wire.Usage | None = None
    read_before: int = 0  # prompt tokens that attempts before this one may have cost
    lost: int = 0  # tokens of them that are void
    kept: int = 0  # tokens that the last attempt goes on from
    is_torn: bool = False  # some texts ended in an attempt before the last: usage is not of all of them
    notes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    is_sent: bool = False  # to an endpoint, at least once
    is_estimated: bool = False
    future: Future[Any] | None = None

    @property
    def jobs(self) -> list[GenerateJob]:
        return [text.job for text in self.texts]

    @property
    def first(self) -> GenerateJob:
        return self.texts[0].job

    def origin_key(self) -> int:
        """What affinity goes by: the prompt."""
        job = self.first
        return rng.digest("affinity", self.backend.tokenizer.decode(job.tokens[: job.origin]))

    # ---- attempts

    async def run(self) -> None:
        """Serve the jobs, or put the error for each into the inbox."""
        try:
            await self._attempts()
        except Exception as error:
            for text in self.texts:
                if not text.is_cancelled:
                    self.inbox.put(text.job, error)
        finally:
            self.backend.forget(self)

    async def _attempts(self) -> None:
        await persist(self.backend, self.origin_key(), self.first.number, self._attempt, self._after)
        self._deliver()

    def _after(self, fault: Fault) -> bool:
        """Make the best of a fault; whether another attempt is needed."""
        self._salvage(fault)
        return any(text.is_live for text in self.texts)

    async def _attempt(self, endpoint: Endpoint) -> None:
        """One request. Raises Fault; what has arrived by then stays in the texts."""
        live = [text for text in self.texts if text.is_live]
        began, first = time.monotonic(), None
        self.usage, self.is_sent = None, True
        self.kept, self.is_torn = sum(len(t.pieces) for t in live), len(live) < len(self.texts)
        stream = self.backend.network.stream(endpoint, self._request(endpoint, live))
        try:
            async for chunk in stream:
                if first is None and chunk.choices:
                    first = time.monotonic() - began
                self._hear(chunk, live)
        except Fault:
            if any(text.reason is None for text in live):
                raise  # else all had arrived but the goodbye
        finally:
            await stream.aclose()
            self.seconds += time.monotonic() - began
        if any(text.is_live for text in live):
            raise Fault(EndpointError(f"{endpoint.url} ended a stream before its end"), is_busy=True)
        self.backend.fleet.served(endpoint, first if first is not None else time.monotonic() - began)

    def _request(self, endpoint: Endpoint, live: Sequence[Text]) -> wire.Request:
        text = live[0]
        job, got = text.job, len(text.pieces)
        messages = self.backend.tokenizer.conversation([*job.tokens, *(p.token for p in text.pieces)])
        if not messages[0].role and not self.backend.features.raw:
            raise CannotDo(f"{endpoint.url} has no /completions: give a conversation, not a plain text")
        cap = job.cap if job.cap is None else job.cap - got
        if cap is None and not messages[0].role:
            cap = self.backend.room(len(job.tokens) + got)
        seed = rng.bits(rng.digest(job.seed), got, 0) >> 1 if got else job.seed
        return wire.generate(
            self.backend.features, endpoint.model, messages, job.sampling, cap, seed, len(live)
        )

    def _hear(self, chunk: wire.Chunk, live: Sequence[Text]) -> None:
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices:
            if not 0 <= choice.number < len(live):
                raise Fault(
                    EndpointError(f"a choice number {choice.number} came, {len(live)} were asked for")
                )
            text = live[choice.number]
            if text.reason is not None:
                continue
            self._write(text, choice)
            if choice.finish is not None:
                text.reason, text.stopped_on = choice.finish, choice.stopped_on

    def _write(self, text: Text, choice: wire.Choice) -> None:
        tokens = wire.tile(choice.text, choice.tokens)
        if text.is_cancelled:
            text.late += len(tokens)
            return
        if text.job.needs_logprobs and any(t.logprob is None for t in tokens):
            error = EndpointError("the endpoint left out log-probabilities, which the strategy needs")
            raise Fault(error, is_final=True)
        intern = self.backend.tokenizer.intern
        pieces = [
            Piece(intern(t.text) if t.text else self.backend.tokenizer.EMPTY, t.logprob) for t in tokens
        ]
        text.pieces += pieces
        if pieces:
            self.inbox.put(text.job, pieces)

    # ---- after a fault

    def _salvage(self, fault: Fault) -> None:
        """Keep what can be continued, void the rest, and write down what may be billed twice."""
        live = [text for text in self.texts if text.is_live]
        got = sum(len(text.pieces) for text in live)
        if fault.may_bill:
            self.is_estimated = True
            self.read_before += len(self.first.tokens)
            what = f"after {got} tokens" if got else "before an answer"
            self.notes[SENT_AGAIN] = sent_again(what, fault)
        if not got:
            return
        if self.backend.features.goes_on or not self._is_chat():
            self._split(live)
        else:
            for text in live:
                self.lost += len(text.pieces)
                text.pieces.clear()
                self.inbox.put(text.job, Restart())

    def _is_chat(self) -> bool:
        return bool(self.backend.tokenizer.conversation(self.first.tokens)[0].role)

    def _split(self, live: Sequence[Text]) -> None:
        """Texts that go on from different places go on in calls of their own; this one keeps the first."""
        for text in live:
            if text.job.cap is not None and len(text.pieces) >= text.job.cap:
                text.reason = "length"  # all had arrived but the last word
        for text in [t for t in live if t.reason is None][1:]:
            self.texts.remove(text)
            self.backend.go_on(
                Call(self.backend, [text], self.inbox, notes=dict(self.notes), is_estimated=True)
            )

    # ---- the end

    def _deliver(self) -> None:
        """Put the last word for each job into the inbox."""
        ours = [text for text in self.texts if not text.is_cancelled]
        if not ours:
            return
        shares = self._shares(ours)
        for text, written in zip(ours, shares, strict=True):
            is_first = text is ours[0]
            self.inbox.put(text.job, self._ended(text, written, is_first))

    def _shares(self, ours: Sequence[Text]) -> list[int | None]:
        """How many tokens each text has by the endpoint's usage; what is more than streamed is end tokens.

        That an attempt before the last may be billed does not matter here: the texts are those of the last.
        """
        usage = self.usage.written if self.usage else None
        got = [len(text.pieces) for text in ours]
        if not usage or self.is_torn or any(text.is_cancelled for text in self.texts):
            return [None] * len(ours)
        usage += self.kept
        extra = usage - sum(got)
        if len(ours) == 1:
            return [usage]
        enders = [i for i, text in enumerate(ours) if text.reason != "length"] or list(range(len(ours)))
        for k, i in enumerate(enders):
            got[i] += max(0, extra) // len(enders) + (k < max(0, extra) % len(enders))
        return list(got)

    def _ended(self, text: Text, written: int | None, is_first: bool) -> Ended:
        reason, stopped_on = self._reason(text)
        known = self.usage.read if self.usage and self.usage.read else None
        read = (len(self.first.tokens) if known is None else known) + self.read_before if is_first else 0
        cached = self.usage.cached if self.usage and is_first else 0
        lost = (self.lost + sum(t.late for t in self.texts)) if is_first else 0
        billed = (len(text.pieces) if written is None else written) + lost
        prices = self.backend.prices
        return Ended(
            reason,
            stopped_on,
            Bill(
                read,
                cached,
                written,
                lost,
                prices.dollars(read, cached, billed) if prices else 0.0,
                self.seconds / len(self.texts),
                is_measured=written is not None and known is not None and not self.is_estimated,
                notes=tuple(self.notes.items()) if is_first else (),
            ),
        )

    def _reason(self, text: Text) -> tuple[str, str]:
        """The reason in our words, and the stop text where the endpoint cut it off and says which."""
        if text.reason == "length":
            return "length", ""
        if text.reason not in ("stop", "eos", "end_turn", "stop_sequence"):
            self.notes["finish"] = f"the endpoint ended a text with {text.reason!r}"
        stops = text.job.sampling.stop
        if text.stopped_on in stops and not self.backend.features.keeps_stops:
            return "stop", text.stopped_on
        return "eos", ""


async def persist(
    backend: OpenAIBackend,
    key: int,
    number: int,
    attempt: Callable[[Endpoint], Awaitable[None]],
    after: Callable[[Fault], bool],
) -> None:
    """Attempt until it works, on one endpoint or another; `after` a fault says whether to go on.

    Raises what the last attempt failed by. Jitter is keyed by the number of the job.
    """
    fleet, failed = backend.fleet, list["Endpoint"]()
    for count in range(backend.attempts):
        endpoint = await fleet.take(key, failed)
        try:
            await attempt(endpoint)
            return
        except Fault as fault:
            if fleet.failed(endpoint, fault):
                backend.notes.append(f"{endpoint.url} was taken out for a while: {fault.error}")
            if fault.is_final:
                raise fault.error from fault
            if count + 1 == backend.attempts:
                raise EndpointError(f"{fault.error} (given up after {count + 1} attempts)") from fault
            if not after(fault):
                return
            failed.append(endpoint)
            wait = backoff(count, rng.uniform(rng.digest("backoff", number), count), fault.wait)
        finally:
            await fleet.give_back(endpoint)
        await asyncio.sleep(wait)
