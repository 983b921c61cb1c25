"""Any OpenAI-compatible endpoint, or several, as a backend.

    ot.load("http://localhost:8000/v1#model")
    ot.load("http://a:8000/v1#model,http://b:8000/v1#model*2")

At connect the endpoints are probed: what they can do is found out, not assumed. Branches re-send their text;
the endpoint's prefix cache makes that cheap, and equal prompts go to the same endpoint of a fleet. Jobs that
differ in their seed alone ride in one request with `n` where the endpoint has it, else in one each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from outthink.backends.remote import prices as pricing
from outthink.backends.remote.calls import Call, Text
from outthink.backends.remote.fleet import Fleet, parse_fleet
from outthink.backends.remote.network import Network, Timeouts
from outthink.backends.remote.pieces import PieceTokenizer
from outthink.backends.remote.probe import Probe, probe_all
from outthink.backends.remote.scoring import Scoring
from outthink.backends.remote.wire import Features
from outthink.core.about import About, Prices
from outthink.core.errors import CannotDo
from outthink.core.jobs import GenerateJob, Inbox, Job, PassJob, ScoreJob
from outthink.core.receipt import Cost
from outthink.core.types import Can, Sampling

ATTEMPTS = 6
CONTEXT = 32768  # where an endpoint does not say
MARGIN = 1.1  # tokens of a prompt are estimated: it may have more
FREE = Prices(0.0, 0.0, 0.0, 1.0, 0.0)
CHECKED = ("top_k", "min_p")  # fields that many servers leave out without a word


class OpenAIBackend:
    """Sends jobs to a fleet of endpoints; all I/O is on a thread of its own."""

    is_remote = True

    def __init__(
        self,
        name: str,
        fleet: Fleet,
        network: Network,
        probe: Probe,
        tokenizer: PieceTokenizer,
        prices: pricing.TokenPrices | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.fleet = fleet
        self.network = network
        self.probe = probe
        self.features: Features = probe.features
        self.tokenizer: Any = tokenizer
        self.prices = prices
        self.attempts = attempts
        self.can = can_of(self.features)
        self.about = About(name, 2**31, self.features.context or CONTEXT, frozenset(tokenizer.eos), FREE)
        self.notes: list[str] = []
        self._calls: dict[int, Call | Scoring] = {}

    @property
    def machine(self) -> str:
        """Where it runs, as far as one can see from outside."""
        return "endpoint " + ", ".join(e.url for e in self.fleet.endpoints)

    @property
    def is_priced(self) -> bool:
        return self.prices is not None

    @property
    def ends_at_stops(self) -> bool:
        return self.features.ends_at_stops

    def refuse(self, sampling: Sampling) -> None:
        """CannotDo for a field that the endpoint does not know, or ignores."""
        plain = Sampling()
        for field in CHECKED:
            if getattr(sampling, field) != getattr(plain, field) and field not in self.features.extras:
                raise CannotDo(
                    f"{self.about.name} does not heed {field}: leave it out, or take a server that does"
                )
        if sampling.ignore_eos:
            raise CannotDo(f"{self.about.name} ends where it ends: ignore_eos needs a local model")

    def estimates(self) -> dict[str, str]:
        """Numbers of a receipt that are not measured here, and how they are counted."""
        found = {"seed": "best effort; another run may give another text"}
        if not self.probe.is_tokenizer_known:
            found["read, logical positions"] = "given text is counted in pieces of our own (--tokenizer)"
        if not self.features.usage and not self.features.logprobs:
            found["written"] = "counted as streamed; the endpoint reports no usage"
        if self.prices is not None and self.prices.is_listed:
            found["dollars"] = "by a table of list prices; --prices overrides it"
        return found

    def room(self, length: int) -> int:
        """Tokens that fit behind so many given ones, with a margin for how they are counted."""
        return max(16, int(self.about.context - MARGIN * self.features.per_piece * length))

    def dollars(self, read: int, written: int) -> float:
        """What so many tokens cost, with a margin for how those that are read are counted; 0: no prices."""
        if self.prices is None:
            return 0.0
        return self.prices.dollars(math.ceil(MARGIN * self.features.per_piece * read), 0, written)

    # ---- jobs

    def submit(self, jobs: Sequence[Job], inbox: Inbox) -> None:
        groups: dict[Any, list[GenerateJob]] = {}
        for job in jobs:
            if isinstance(job, PassJob):
                raise CannotDo("an endpoint takes no passes")
            if isinstance(job, ScoreJob):
                self.go_on(Scoring(self, job, inbox))
            else:
                groups.setdefault(self._group(job), []).append(job)
        for group in groups.values():
            self.go_on(Call(self, [Text(job) for job in group], inbox))

    def _group(self, job: GenerateJob) -> Any:
        if not self.features.n or job.group is None:
            return job.number
        return job.group, job.sampling, job.cap

    def go_on(self, call: Call | Scoring) -> None:
        """Start a call on the network thread."""
        self._calls.update((job.number, call) for job in call.jobs)
        call.future = self.network.start(call.run())

    def forget(self, call: Call | Scoring) -> None:
        """A call has ended."""
        for job in call.jobs:
            if self._calls.get(job.number) is call:
                del self._calls[job.number]

    def step_times(self) -> Mapping[int, float]:
        """There are no passes to time."""
        return {}

    def step(self) -> bool:
        return False

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Close the requests of these jobs; one that also serves others goes on for them."""
        for job in jobs:
            call = self._calls.pop(job.number, None)
            if isinstance(call, Call):
                for text in call.texts:
                    text.is_cancelled |= text.job is job
                if any(not text.is_cancelled for text in call.texts):
                    continue
            if call is not None and call.future is not None:
                call.future.cancel()

    def price(self, job: Job) -> Cost:
        """What a job costs, by our own count; nothing if it has not reached an endpoint yet."""
        call = self._calls.get(job.number)
        if isinstance(job, PassJob) or (call is not None and not call.is_sent):
            return Cost()
        is_payer = not isinstance(call, Call) or call.first.number == job.number
        read = len(job.tokens) if is_payer else 0
        written = (job.cap or 0) if isinstance(job, GenerateJob) else 1
        dollars = self.prices.dollars(read, 0, written) if self.prices else 0.0
        return Cost(read=read, positions=read + written, dollars=dollars)

    def close(self) -> None:
        """End the network thread."""
        self.network.close()


def can_of(features: Features) -> Can:
    """What strategies may count on."""
    can = Can.GENERATE
    if features.logprobs:
        can |= Can.LOGPROBS
    if features.top:
        can |= Can.PEEK
    if features.goes_on or features.style == "completions":
        can |= Can.REWIND
    if features.prompt_logprobs or (features.style == "completions" and features.echo is not None):
        can |= Can.SCORE
    return can


def connect(
    spec: str,
    *,
    prices: str | None = None,
    tokenizer: str | None = None,
    api: str | None = None,
    concurrency: int = 64,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - a tuple
    attempts: int = ATTEMPTS,
) -> OpenAIBackend:
    """Probe the endpoints of `URL#model,...` and return them as a backend.

    `tokenizer` is the directory of the model's tokenizer, or the name of an embedded model: prompts are then
    counted exactly and its chat template is applied here. `api` is "chat" or "completions", by default what
    the probe finds best. Raises EndpointError where none answers.
    """
    endpoints = parse_fleet(spec, concurrency)
    given = pricing.parse_prices(prices) if prices else None
    pieces, template = known_tokenizer(tokenizer)
    network = Network(timeouts)
    try:
        found = network.start(probe_all(network, endpoints, api, template is not None)).result()
    except BaseException:
        network.close()
        raise
    if found.features.style == "completions":
        pieces.template = template or plain_template
    alive = [e for e in endpoints if e in found.endpoints]
    price = given or pricing.listed(alive[0].model)
    found.is_tokenizer_known = tokenizer is not None
    return OpenAIBackend(alive[0].model, Fleet(alive), network, found, pieces, price, attempts)


Template = Callable[[Sequence[dict[str, str]]], str]


def known_tokenizer(name: str | None) -> tuple[PieceTokenizer, Template | None]:
    """Pieces that part as the tokenizer in a model's directory does, and its chat template."""
    if name is None:
        return PieceTokenizer(), None
    from outthink.backends.load import locate
    from outthink.models.tokenizer import Tokenizer

    known = Tokenizer.from_directory(locate(name))

    def split(text: str) -> list[str]:
        ends = [end for _, end in known.core.encode(text, add_special_tokens=False).offsets]
        starts = [0, *ends][: len(ends)]
        pieces = [text[a:b] for a, b in zip(starts, ends, strict=True)]
        return pieces if "".join(pieces) == text else [text]

    def template(messages: Sequence[dict[str, str]]) -> str:
        tokens = known.chat(messages)
        if known.bos is not None and known.encode("a")[:1] == tokens[:1] == [known.bos]:
            tokens = tokens[1:]  # the endpoint puts a begin token before a prompt, as this tokenizer does
        return str(known.core.decode(tokens, skip_special_tokens=False))

    return PieceTokenizer(split), template


def plain_template(messages: Sequence[dict[str, str]]) -> str:
    """Where no chat template is known: the contents as plain paragraphs."""
    return "\n\n".join(message["content"] for message in messages) + "\n"
