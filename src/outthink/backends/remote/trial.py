"""What an endpoint can do, found out by asking: small requests whose right answers are known.

models, chat, completions     do they answer; is usage in the stream
logprobs                      is the drawn token among the likeliest with the same value; do the likeliest
                              sum to at most one; does a second call agree; are they other than 0
plain                         which fields may be sent that undo defaults of the endpoint's own
stop                          the text of temperature 0 is asked for again with a stop from its middle
continue                      ... and with its beginning given: the rest must come
n, seed                       two choices come; equal seeds give equal texts, others another
echo, prompt_logprobs         the prompt's own tokens come back, with log-probabilities
top_k, min_p                  at a high temperature, top_k=1 must give what temperature 0 gives
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from outthink.backends.remote import wire
from outthink.backends.remote.faults import Fault
from outthink.backends.remote.fleet import Endpoint
from outthink.backends.remote.found import Check, Probe
from outthink.backends.remote.network import Network
from outthink.backends.remote.patient import Patient
from outthink.backends.remote.pieces import Message, PieceTokenizer
from outthink.backends.remote.wire import Features, Request, Token
from outthink.core.errors import BadInput, UnknownName

QUESTION = "Count from one to ten in words."
LENGTH = 12  # tokens of a trial
TOPS = (20, 5, 1)
AGREE = 0.05  # by how much two calls may differ: batches change the last bits
ORDER = (
    *("model", "context", "chat", "completions", "plain", "usage", "logprobs", "top_logprobs", "stop"),
    *("continue", "n", "seed", "top_k", "min_p", "echo", "prompt_logprobs", "tokenizer"),
)
PLAIN: dict[str, tuple[float, ...]] = {  # what changes nothing; "all" is -1 for some, 0 for others
    "top_p": (1.0,),
    "top_k": (-1, 0),
    "min_p": (0.0,),
    "repetition_penalty": (1.0,),
    "repeat_penalty": (1.0,),  # llama.cpp's name for it
}


class Trial:
    """The probing of one endpoint."""

    def __init__(self, network: Network, endpoint: Endpoint, api: str | None, has_template: bool) -> None:
        self.network = Patient(network)
        self.endpoint = endpoint
        self.api = api
        self.has_template = has_template
        self.features = Features()
        self.checks: list[Check] = []
        self.tokens: list[Token] = []
        self.text = ""

    async def run(self) -> Probe:
        """All checks, in an order in which each may use what the ones before have found."""
        await self._models()
        await self._styles()
        await self._plain()
        await self._first_text()
        checks = (
            self._logprobs,
            self._stops,
            self._goes_on,
            self._n,
            self._seed,
            self._extras,
            self._tokenizer,
            self._echo,
            self._prompt_logprobs,
        )
        for check in checks:  # one by one: some servers end a stream when the next request comes
            await check()
        self.checks.sort(key=lambda check: ORDER.index(check.name))
        return Probe(self.features, self.checks, [self.endpoint])

    # ---- what answers at all

    async def _models(self) -> None:
        """The model's name if none was given, and its context."""
        try:
            response = await self.network.get(self.endpoint.url + "/models", self.endpoint.headers)
            listed = response.json().get("data") or [] if response.status_code == 200 else []
        except Fault as fault:
            raise fault.error from fault
        except (ValueError, AttributeError):
            listed = []
        names = {m["id"]: m for m in listed if isinstance(m, dict) and isinstance(m.get("id"), str)}
        self._name(names)
        entry = names.get(self.endpoint.model, {})
        meta: Any = entry.get("meta") if isinstance(entry.get("meta"), dict) else {}
        told = (entry.get("max_model_len"), entry.get("context_length"), meta.get("n_ctx"))
        context = next((c for c in told if isinstance(c, int) and c > 0), None)
        self.features = replace(self.features, context=context)
        self._say("model", self.endpoint.model)
        self._say("context", str(context) if context else "unknown", "" if context else "32768 is assumed")

    def _name(self, names: dict[str, Any]) -> None:
        """Settle the model's name."""
        there = ", ".join(list(names)[:8]) or "unknown"
        if not self.endpoint.model and len(names) == 1:
            self.endpoint.model = next(iter(names))
        if not self.endpoint.model:
            raise BadInput(f"{self.endpoint.url}: give a model as URL#MODEL. There are: {there}")
        if names and self.endpoint.model not in names:
            raise UnknownName(f"model at {self.endpoint.url}", self.endpoint.model, names)

    async def _styles(self) -> None:
        """Which of chat and completions answer, and which is used."""
        errors = {"chat": await self._answers("chat"), "completions": await self._answers("completions")}
        failed = [error for error in errors.values() if error is not None]
        wanted = errors.get(self.api or "")
        if len(failed) == 2 or wanted is not None:
            raise wanted or failed[0]
        is_raw_better = errors["completions"] is None and (self.has_template or errors["chat"] is not None)
        style = self.api or ("completions" if is_raw_better else "chat")
        self.features = replace(self.features, style=style, raw=errors["completions"] is None)
        for name, error in errors.items():
            note = "used" if name == style else ""
            if note and name == "completions" and not self.has_template:
                note = "used; no chat template is known: a question is sent as it is"
            self._say(name, "no" if error else "yes", str(error)[:80] if error else note)

    async def _answers(self, style: str) -> Exception | None:
        """Whether a style answers; else why not."""
        try:
            await self._write(replace(self.features, style=style), cap=1)
        except Fault as fault:
            if "max_completion_tokens" not in str(fault) or self.features.cap_field != "max_tokens":
                return fault.error
            self.features = replace(self.features, cap_field="max_completion_tokens")
            return await self._answers(style)
        return None

    async def _plain(self) -> None:
        """Servers have defaults of their own: llama.cpp's truncate and penalize, vLLM's are the model's."""
        whole: tuple[tuple[str, float], ...] = ()
        for place in range(2):
            everything = tuple((name, values[min(place, len(values) - 1)]) for name, values in PLAIN.items())
            if await self._takes(everything):
                whole = everything
                break
        for name, values in PLAIN.items():  # where not all are taken, each alone
            for value in values:
                if name not in dict(whole) and await self._takes(((name, value),)):
                    whole += ((name, value),)
        self.features = replace(self.features, plain=whole)
        taken = dict(whole)
        lacking = [name for name in PLAIN if name not in taken]
        note = f"not taken: {', '.join(lacking)}; defaults of its own would bind" if lacking else ""
        self._say("plain", "yes" if taken else "no", note)

    async def _takes(self, fields: tuple[tuple[str, float], ...]) -> bool:
        """Whether a request with these fields is answered."""
        try:
            await self._write(replace(self.features, plain=fields), cap=1)
        except Fault:
            return False
        return True

    async def _first_text(self) -> None:
        """The text at temperature 0, which later checks compare with; usage and logprobs on the way."""
        usage: wire.Usage | None = None
        try:
            chunks = await self._write(replace(self.features, usage=True, logprobs=True))
        except Fault:
            try:
                chunks = await self._write(self.features)
            except Fault as fault:
                raise fault.error from fault
        for chunk in chunks:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                self.text += choice.text
                self.tokens += wire.tile(choice.text, choice.tokens)
        is_told = usage is not None and bool(usage.written) and usage.read is not None
        pieces = len(PieceTokenizer().encode(QUESTION))
        per_piece = max(1.0, usage.read / pieces) if usage and usage.read else 1.5
        self.features = replace(self.features, usage=is_told, per_piece=per_piece)
        self._say("usage", "yes" if is_told else "no", "" if is_told else "tokens are counted as streamed")

    # ---- log-probabilities

    async def _logprobs(self) -> None:
        """Whether they are there, and true."""
        first, second = await self._likeliest(), await self._likeliest()
        trouble = self._lie(first, second)
        top = 0 if trouble else min(len(first), len(second))
        self.features = replace(self.features, logprobs=not trouble, top=top)
        self._say(
            "logprobs",
            "no" if trouble else "yes",
            trouble or "true: sum to at most one, calls agree",
        )
        self._say("top_logprobs", str(top) if top else "no")

    def _lie(self, first: dict[str, float], second: dict[str, float]) -> str:
        """What is wrong with the log-probabilities; empty if nothing is."""
        drawn = [t for t in self.tokens if t.text]
        total = sum(map(math.exp, first.values()))
        if not drawn or any(t.logprob is None for t in drawn):
            return "the stream has none"
        if all(t.logprob == 0.0 for t in drawn) and (not first or len(first) > 1):
            return "all are 0"
        if set(first) != set(second) or any(abs(p - second[t]) > AGREE for t, p in first.items()):
            return "a second call gives others"
        if total > 1 + 1e-3:
            return f"the likeliest sum to {total:.3f}"
        told = first.get(drawn[0].text)
        if told is not None and abs(told - (drawn[0].logprob or 0.0)) > AGREE:
            return "the drawn token's is another one than in the list of the likeliest"
        return ""

    async def _likeliest(self) -> dict[str, float]:
        """The first token's likeliest alternatives, as many as the endpoint gives."""
        for top in TOPS:
            request = wire.likeliest(self.features, self.endpoint.model, self._messages(), top)
            try:
                found = await self.network.whole(self.endpoint, request)
            except Fault:
                continue
            choices = wire.read_chunk(found).choices
            if choices and choices[0].tokens:
                return dict(choices[0].tokens[0].top)
        return {}

    # ---- writing

    async def _stops(self) -> None:
        """What becomes of a stop text: kept, cut with a word about it, cut, or ignored."""
        stop = self._middle()
        before, _, after = self.text.partition(stop) if stop else (self.text, "", "")
        if not after:
            self._say("stop", "unknown", "the text of the trial is too short to tell")
            return
        plain = await self._stopped({"stop": [stop]})
        kept = await self._stopped({"stop": [stop], "include_stop_str_in_output": True})
        text = _text(plain)
        if text.startswith(before + stop) and len(text) > len(before + stop):
            self._say("stop", "no", "ignored; texts are cut here")
        elif text not in (before, before + stop):
            self._say("stop", "no", "the text changed with it")
        else:
            tells = any(c.stopped_on == stop for chunk in plain for c in chunk.choices)
            keeps = _text(kept) == before + stop
            self.features = replace(self.features, keeps_stops=keeps, tells_stops=tells)
            cut = "cut, and said which" if tells else "cut; it is looked for here, to know which"
            self._say("stop", "yes", "kept on request" if keeps else cut)

    async def _stopped(self, fields: dict[str, Any]) -> list[wire.Chunk]:
        request = self._request(self.features, 0.0, LENGTH, 0)
        request.body.update(fields)
        try:
            return [chunk async for chunk in self.network.stream(self.endpoint, request)]
        except Fault:
            return []

    def _middle(self) -> str:
        """A short text from the middle of the trial's that occurs nowhere before."""
        half = len(self.text) // 2
        stops = (self.text[half : half + length] for length in range(2, 6))
        return next((stop for stop in stops if self.text.find(stop) == half), "")

    async def _goes_on(self) -> None:
        """Whether a text that was begun is continued."""
        if self.features.style == "completions":
            self.features = replace(self.features, goes_on=True)
            self._say("continue", "yes", "as plain text")
            return
        half = len(self.tokens) // 2
        begun = "".join(t.text for t in self.tokens[:half])
        rest = self.text[len(begun) :]
        if not begun.strip() or len(rest) < 2:
            self._say("continue", "unknown", "the text of the trial is too short to tell")
            return
        text = await self._continued(begun, LENGTH - half)
        is_rest = bool(text) and (rest.startswith(text) or text.startswith(rest))
        self.features = replace(self.features, goes_on=is_rest)
        note = (
            "continue_final_message" if is_rest else "only strategies that write an answer in one go can run"
        )
        self._say("continue", "yes" if is_rest else "no", note)

    async def _continued(self, begun: str, cap: int) -> str:
        messages = [Message("user", QUESTION), Message("assistant", begun)]
        sampling = wire.Sampling(temperature=0.0)
        request = wire.generate(self.features, self.endpoint.model, messages, sampling, cap, 0)
        try:
            return _text([chunk async for chunk in self.network.stream(self.endpoint, request)])
        except Fault:
            return ""

    async def _n(self) -> None:
        """Whether two choices come."""
        request = self._request(self.features, 1.0, 2, 0, 2)
        try:
            chunks = [chunk async for chunk in self.network.stream(self.endpoint, request)]
        except Fault:
            chunks = []
        has_n = {choice.number for chunk in chunks for choice in chunk.choices} == {0, 1}
        self.features = replace(self.features, n=has_n)
        self._say("n", "yes" if has_n else "no", "" if has_n else "a request for each sample instead")

    async def _seed(self) -> None:
        """Equal seeds must give equal texts, and seeds must not all give one."""
        try:
            seeds = (1, 1, 2, 3, 4, 5, 6)
            texts = [_text(await self._write(self.features, 1.5, seed=seed)) for seed in seeds]
        except Fault:
            texts = []
        is_kept = len(texts) == 7 and texts[0] == texts[1] and len(set(texts)) > 1
        self.features = replace(self.features, seed=is_kept)
        self._say(
            "seed", "yes" if is_kept else "no", "best effort" if is_kept else "texts cannot be had again"
        )

    async def _extras(self) -> None:
        """Fields that many servers leave out: each must make a wild text the likeliest one."""
        trials: dict[str, dict[str, Any]] = {"top_k": {"top_k": 1}, "min_p": {"min_p": 1.0}}
        is_wild = await self._wild({}) != {self.text}
        found = {
            name for name, fields in trials.items() if is_wild and await self._wild(fields) == {self.text}
        }
        self.features = replace(self.features, extras=frozenset(found))
        for name in trials:
            note = "" if name in found else "not heeded: who asks for it is refused"
            self._say(name, "yes" if name in found else "no", note)

    async def _wild(self, fields: dict[str, Any]) -> set[str]:
        """Three texts at a high temperature."""
        found = set()
        for seed in (11, 12, 13):
            request = self._request(self.features, 2.0, LENGTH, seed)
            request.body.update(fields)
            try:
                found.add(_text([chunk async for chunk in self.network.stream(self.endpoint, request)]))
            except Fault:
                return set()
        return found

    # ---- scoring

    async def _echo(self) -> None:
        """Whether /completions scores the prompt itself."""
        plain = [Message("", f"{QUESTION}\n{self.text}")]
        for cap in (0, 1) if self.features.raw else ():
            features = replace(self.features, echo=cap)
            try:
                asked = wire.score(features, self.endpoint.model, plain, 1)
                chunk = wire.read_chunk(await self.network.whole(self.endpoint, asked))
            except Fault:
                continue
            tokens = list(chunk.choices[0].tokens) if chunk.choices else []
            if _scores(tokens[: len(tokens) - cap], plain[0].content):
                self.features = replace(self.features, echo=cap)
                self._say("echo", "yes", "scores given text")
                return
        self._say("echo", "no", "" if self.features.raw else "there is no /completions")

    async def _prompt_logprobs(self) -> None:
        """Whether vLLM's field scores the prompt."""
        messages = self._messages()
        if self.features.style == "chat" and self.features.goes_on:
            messages = [*messages[:-1], Message("assistant", self.text)]
        request = wire.score(replace(self.features, echo=None), self.endpoint.model, messages, 0)
        try:
            tokens = wire.read_prompt_logprobs(await self.network.whole(self.endpoint, request))
        except Fault:
            tokens = []
        has_it = bool(messages[-1].content) and _scores(tokens, messages[-1].content)
        self.features = replace(self.features, prompt_logprobs=has_it)
        self._say("prompt_logprobs", "yes" if has_it else "no", "scores given text" if has_it else "")

    async def _tokenizer(self) -> None:
        """Whether the server tells how it parts a text, as vLLM and llama.cpp do."""
        parts = urlsplit(self.endpoint.url)
        root = Endpoint(f"{parts.scheme}://{parts.netloc}", self.endpoint.model, key=self.endpoint.key)
        body = {"model": self.endpoint.model, "prompt": QUESTION, "content": QUESTION}
        try:
            found = await self.network.whole(root, Request("/tokenize", body))
        except Fault:
            found = {}
        has_it = isinstance(found.get("tokens"), list)
        note = "/tokenize answers; " if has_it else ""
        note += "prompts are counted in pieces of our own, exactly with --tokenizer DIR"
        self._say("tokenizer", "yes" if has_it else "unknown", note)

    # ---- shared

    def _messages(self, style: str = "") -> list[Message]:
        if (style or self.features.style) == "completions":
            return [Message("", QUESTION + "\n")]
        return [Message("user", QUESTION), Message("assistant", "")]

    def _request(self, features: Features, temperature: float, cap: int, seed: int, n: int = 1) -> Request:
        sampling, messages = wire.Sampling(temperature=temperature), self._messages(features.style)
        return wire.generate(
            replace(features, seed=True), self.endpoint.model, messages, sampling, cap, seed, n
        )

    async def _write(
        self, features: Features, temperature: float = 0.0, cap: int = LENGTH, seed: int = 0
    ) -> list[wire.Chunk]:
        request = self._request(features, temperature, cap, seed)
        return [chunk async for chunk in self.network.stream(self.endpoint, request)]

    def _say(self, name: str, found: str, note: str = "") -> None:
        self.checks.append(Check(name, found, note))


def _text(chunks: Sequence[wire.Chunk]) -> str:
    return "".join(choice.text for chunk in chunks for choice in chunk.choices)


def _scores(tokens: Sequence[Token], given: str) -> bool:
    """Whether tokens end in the given text, scored but for the first."""
    is_whole = "".join(t.text for t in tokens).endswith(given)
    return is_whole and len(tokens) > 1 and all(t.logprob is not None for t in tokens[1:])
