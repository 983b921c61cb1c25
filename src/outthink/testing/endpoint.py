"""An OpenAI-compatible endpoint whose every probability is known, for tests of clients.

A model is a function of the whole text, `text -> {next token: probability}`; the token "" ends the text, and
every other token is one character. `Powers` says what the endpoint can do, and which lies it tells.
"""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from outthink.core import rng

Model = Callable[[str], Mapping[str, float]]
UNIFORM = {chr(c): 1 / 95 for c in range(32, 127)}


def writes(texts: Callable[[str], Mapping[str, float]]) -> Model:
    """A model that answers a question (the text's first line) with one of some texts, by their weights.

    p(character | question, begun) = the weight of the texts that go on so / the weight of those that begin so
    """

    def model(text: str) -> Mapping[str, float]:
        question, newline, begun = text.partition("\n")
        if not newline:
            return UNIFORM
        found: dict[str, float] = {}
        for whole, weight in texts(question).items():
            if whole.startswith(begun):
                after = whole[len(begun) : len(begun) + 1]
                found[after] = found.get(after, 0.0) + weight
        total = sum(found.values())
        return {token: weight / total for token, weight in found.items()} if total else {"": 1.0}

    return model


@dataclass(frozen=True)
class Powers:
    """What an endpoint can do. The defaults are those of a good one."""

    chat: bool = True
    completions: bool = True
    goes_on: bool = True  # continue_final_message; without it a begun answer is one more message
    logprobs: str = "true"  # "none", "zero" (always 0), "high" (above what sums to one), "fickle"
    top: int = 20
    stops: str = "kept"  # with include_stop_str_in_output; "told": stop_reason; "cut": neither; "deaf"
    n: bool = True
    seed: bool = True
    usage: bool = True
    echo: bool = True
    prompt_logprobs: bool = False
    extras: bool = True  # top_k, min_p, repetition_penalty
    strict: bool = False  # refuses fields that are not OpenAI's
    interrupts: bool = False  # a stream ends short when the next request comes, as llama_cpp.server has it
    own_top_k: int = 0  # where a request has none
    tokenize: bool = False
    context: int | None = 4096
    cap_field: str = "max_tokens"
    per_token: float = 0.0  # seconds
    key: str = ""


@dataclass
class Served:
    """One request to the endpoint."""

    path: str
    body: dict[str, Any]
    prompt: int = 0  # tokens
    written: int = 0
    is_whole: bool = False  # the client took all of it


@dataclass(frozen=True)
class Step:
    """A token that was drawn."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


class Refusal(Exception):
    """An answer with a status that is not 200."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256  # with the default of 5, a burst of connections on a busy machine is reset

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error here."""


class Endpoint:
    """The server. `with Endpoint(model) as endpoint: endpoint.url`."""

    def __init__(self, model: Model, powers: Powers = Powers(), name: str = "fake", port: int = 0) -> None:  # noqa: B008
        self.model = model
        self.powers = powers
        self.name = name
        self.log: list[Served] = []
        self.fail: Callable[[Served], Refusal | None] = lambda served: None  # a test may refuse requests
        self.connections: set[socket.socket] = set()
        self._count = 0
        handler = type("Handler", (_Handler,), {"endpoint": self})
        self._server = _Server(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def spec(self) -> str:
        """What `ot.load` takes."""
        return f"{self.url}#{self.name}"

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    @property
    def texts(self) -> list[Served]:
        """Requests for text, in order of arrival."""
        return [served for served in self.log if served.path.endswith("completions")]

    def new_seed(self) -> int:
        self._count += 1
        return rng.digest("no seed", self._count)

    # ---- the model

    def draw(self, text: str, body: Mapping[str, Any], key: int) -> Step:
        """The next token, by the request's sampling."""
        row = {t: p for t, p in self.model(text).items() if p > 0}
        temperature = float(body.get("temperature", 1.0))
        ordered = sorted(row, key=lambda t: (-row[t], t))
        top_k = body.get("top_k", self.powers.own_top_k)
        if self.powers.extras and top_k > 0:
            ordered = ordered[:top_k]
        if self.powers.extras and body.get("min_p"):
            ordered = [t for t in ordered if row[t] >= body["min_p"] * row[ordered[0]]]
        token = ordered[0]
        if temperature > 0:
            at = len(text)
            token = max(
                ordered,
                key=lambda t: math.log(row[t]) / temperature + rng.gumbel(key, at, ord(t) if t else 0),
            )
        tops = [(t, math.log(row[t])) for t in sorted(row, key=lambda t: (-row[t], t))]
        return Step(token, self._told(math.log(row[token])), tuple((t, self._told(p)) for t, p in tops))

    def _told(self, logprob: float) -> float:
        if self.powers.logprobs == "zero":
            return 0.0
        if self.powers.logprobs == "high":
            return min(0.0, logprob + 0.5)
        if self.powers.logprobs == "fickle":
            self._count += 1
            return logprob - (self._count % 7) / 10
        return logprob


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for an Endpoint."""

    endpoint: Endpoint
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.endpoint.connections.add(self.connection)

    def finish(self) -> None:
        self.endpoint.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        powers = self.endpoint.powers
        if not self.path.endswith("/models"):
            self._json(404, {"error": {"message": "not found"}})
            return
        entry: dict[str, Any] = {"id": self.endpoint.name, "object": "model"}
        if powers.context is not None:
            entry["max_model_len"] = powers.context
        self._json(200, {"object": "list", "data": [entry]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        served = Served(self.path, body)
        self.endpoint.log.append(served)
        try:
            self._check(served)
            if self.path.endswith("/tokenize"):
                text = body.get("prompt", "")
                self._json(200, {"count": len(text), "tokens": [ord(c) for c in text]})
            else:
                self._complete(served)
        except Refusal as refusal:
            code = refusal.code or refusal.status
            self._json(refusal.status, {"error": {"message": str(refusal), "code": code}})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _check(self, served: Served) -> None:
        powers = self.endpoint.powers
        refusal = self.endpoint.fail(served)
        if refusal is not None:
            raise refusal
        if powers.key and self.headers.get("authorization") != f"Bearer {powers.key}":
            raise Refusal(401, "no such key")
        is_chat = "chat" in served.path
        known = (
            powers.tokenize
            if served.path.endswith("/tokenize")
            else powers.chat
            if is_chat
            else powers.completions
        )
        if not known:
            raise Refusal(404, "not found")
        foreign = {"top_k", "min_p", "repetition_penalty", "repeat_penalty"} & served.body.keys()
        if powers.strict and foreign:
            raise Refusal(400, f"Unrecognized request argument supplied: {min(foreign)}")
        if is_chat and powers.cap_field != "max_tokens" and "max_tokens" in served.body:
            raise Refusal(400, f"Unsupported parameter: 'max_tokens'. Use '{powers.cap_field}' instead.")

    def _complete(self, served: Served) -> None:
        powers, body = self.endpoint.powers, served.body
        text = self._text(body)
        served.prompt = len(text)
        cap = cap_of(body, powers)
        if powers.context is not None and served.prompt + cap > powers.context:
            raise Refusal(400, f"This model's maximum context length is {powers.context} tokens")
        base = body.get("seed") if powers.seed else None
        base = self.endpoint.new_seed() if base is None else base
        choices = [
            _Choice(self.endpoint, body, text, rng.digest(base, i), i, served)
            for i in range(body.get("n", 1) if powers.n else 1)
        ]
        if body.get("stream"):
            self._stream(served, choices)
        else:
            self._whole(served, choices, text)

    def _text(self, body: Mapping[str, Any]) -> str:
        """The whole text that is to be continued."""
        if "prompt" in body:
            return str(body["prompt"])
        messages = body["messages"]
        if body.get("continue_final_message") and self.endpoint.powers.goes_on:
            *messages, last = messages
            return "".join(m["content"] + "\n" for m in messages) + str(last["content"])
        return "".join(m["content"] + "\n" for m in messages)

    def _stream(self, served: Served, choices: Sequence[_Choice]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        parts = [choice.parts() for choice in choices]
        for turn in _in_turns(parts):
            if self.endpoint.powers.interrupts and self.endpoint.log[-1] is not served:
                self._chunk(b"")
                return
            self._event({"object": "chunk", "choices": [turn]})
        if self.endpoint.powers.usage and served.body.get("stream_options", {}).get("include_usage"):
            self._event({"choices": [], "usage": self._usage(served)})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")
        served.is_whole = True

    def _usage(self, served: Served) -> dict[str, int]:
        return {"prompt_tokens": served.prompt, "completion_tokens": served.written}

    def _event(self, found: Mapping[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(found).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _whole(self, served: Served, choices: Sequence[_Choice], text: str) -> None:
        found = [choice.whole(text) for choice in choices]
        answer: dict[str, Any] = {"choices": found, "usage": self._usage(served)}
        if "prompt_logprobs" in served.body and self.endpoint.powers.prompt_logprobs:
            steps = choices[0].of_prompt(text)
            answer["prompt_logprobs"] = [None, *(_entries(step) for step in steps[1:])]
        self._json(200, answer)
        served.is_whole = True

    def _json(self, status: int, found: Mapping[str, Any]) -> None:
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "0.05")
        self.end_headers()
        self.wfile.write(data)


@dataclass
class _Choice:
    """One text that an endpoint writes."""

    endpoint: Endpoint
    body: Mapping[str, Any]
    prompt: str
    key: int
    index: int
    served: Served
    steps: list[Step] = field(default_factory=list)
    finish: str = ""
    stopped_on: str = ""

    def parts(self) -> Iterator[dict[str, Any]]:
        """The events of a stream. What could become a stop text is held back."""
        shown = 0
        for _ in self._write():
            text = "".join(step.token for step in self.steps)
            ready = len(text) if self.finish else len(text) - self._held_back(text)
            steps = self.steps[-1:] if self.steps[-1].token else []
            yield self._part(self._visible(text)[shown:ready], steps)
            shown = max(shown, min(ready, len(self._visible(text))))
        yield self._part("", []) | self._goodbye()

    def whole(self, prompt: str) -> dict[str, Any]:
        """The choice of an answer that is not streamed; with `echo`, the prompt first."""
        for _ in self._write():
            pass
        text = self._visible("".join(step.token for step in self.steps))
        steps = [step for step in self.steps if step.token]
        if self.body.get("echo") and self.endpoint.powers.echo:
            steps, text = [*self.of_prompt(prompt), *steps], prompt + text
        return self._part(text, steps, "message") | self._goodbye()

    def of_prompt(self, prompt: str) -> list[Step]:
        """The tokens of the prompt with what the model thought of them."""
        found = []
        for i, token in enumerate(prompt):
            row = {t: p for t, p in self.endpoint.model(prompt[:i]).items() if p > 0}
            tops = sorted(((t, math.log(p)) for t, p in row.items()), key=lambda pair: -pair[1])
            found.append(Step(token, math.log(row.get(token, 1e-9)), tuple(tops)))
        return found

    def _write(self) -> Iterator[None]:
        powers = self.endpoint.powers
        cap = cap_of(self.body, powers)
        text = self.prompt
        while len(self.steps) < cap:
            if powers.per_token:
                time.sleep(powers.per_token)
            step = self.endpoint.draw(text, self.body, self.key)
            self.steps.append(step)
            self.served.written += 1
            text += step.token
            if not step.token or self._stops(text[len(self.prompt) :]):
                self.finish = "stop"
            yield
            if self.finish:
                return
        self.finish = "length"

    def _stops(self, text: str) -> bool:
        stops = self.body.get("stop") or []
        if self.endpoint.powers.stops == "deaf":
            return False
        self.stopped_on = next((s for s in stops if s in text), "")
        return bool(self.stopped_on)

    def _held_back(self, text: str) -> int:
        stops = self.body.get("stop") or []
        return max((k for s in stops for k in range(len(s)) if text.endswith(s[:k])), default=0)

    def _visible(self, text: str) -> str:
        is_kept = self.endpoint.powers.stops == "kept" and self.body.get("include_stop_str_in_output")
        return text if is_kept or not self.stopped_on else text[: text.index(self.stopped_on)]

    def _goodbye(self) -> dict[str, Any]:
        told = self.stopped_on or None if self.endpoint.powers.stops in ("told", "kept") else None
        return {"finish_reason": self.finish, "stop_reason": told}

    def _part(self, text: str, steps: Sequence[Step], field: str = "delta") -> dict[str, Any]:
        is_chat = "messages" in self.body
        found: dict[str, Any] = {"index": self.index, "finish_reason": None}
        found |= {field: {"role": "assistant", "content": text}} if is_chat else {"text": text}
        if self.body.get("logprobs") and self.endpoint.powers.logprobs != "none":
            found["logprobs"] = self._logprobs(steps, is_chat)
        return found

    def _logprobs(self, steps: Sequence[Step], is_chat: bool) -> dict[str, Any]:
        asked = self.body.get("top_logprobs", 0) if is_chat else int(self.body["logprobs"])
        top = min(asked, self.endpoint.powers.top)
        if is_chat:
            return {
                "content": [
                    {
                        "token": s.token,
                        "logprob": s.logprob,
                        "top_logprobs": [{"token": t, "logprob": p} for t, p in s.top[:top]],
                    }
                    for s in steps
                ]
            }
        return {
            "tokens": [s.token for s in steps],
            "token_logprobs": [s.logprob for s in steps],
            "top_logprobs": [dict(s.top[:top]) for s in steps],
        }


def cap_of(body: Mapping[str, Any], powers: Powers) -> int:
    """How many tokens a request may write: 16 in /completions, in chat what fits, as OpenAI has it."""
    asked = body.get(powers.cap_field, body.get("max_tokens"))
    return int(asked) if asked is not None else 16 if "prompt" in body else 1000


def _entries(step: Step) -> dict[str, Any]:
    """A place of prompt_logprobs: the prompt's own token first."""
    pairs = [(step.token, step.logprob), *((t, p) for t, p in step.top if t != step.token)]
    return {str(i): {"logprob": p, "rank": i, "decoded_token": t} for i, (t, p) in enumerate(pairs)}


def _in_turns(parts: Sequence[Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """One part of each choice after the other, until all have ended."""
    alive = list(parts)
    while alive:
        for one in list(alive):
            part = next(one, None)
            if part is None:
                alive.remove(one)
            else:
                yield part
