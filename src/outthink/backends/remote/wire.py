"""The wire format of OpenAI-compatible endpoints: bodies of requests, and what comes back, as plain data.

Nothing that a server sends is trusted: what is missing or makes no sense is None here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from outthink.backends.remote.faults import EndpointError, Fault
from outthink.backends.remote.pieces import Message
from outthink.core.types import Sampling

MOST_STOPS = 4  # OpenAI takes no more; with more, stops are found on our side


@dataclass(frozen=True)
class Features:
    """What a probe has found at an endpoint. The default: nothing but plain text."""

    style: str = "chat"  # "chat" or "completions": how questions are sent
    raw: bool = False  # /completions works
    goes_on: bool = False  # a text that was begun can be continued
    cap_field: str = "max_tokens"
    usage: bool = False  # in streams
    logprobs: bool = False  # there, and true
    top: int = 0  # the most top_logprobs
    keeps_stops: bool = False  # include_stop_str_in_output
    tells_stops: bool = False  # stop_reason
    n: bool = False
    seed: bool = False
    echo: int | None = None  # max_tokens to send with echo, where it scores the prompt
    prompt_logprobs: bool = False
    extras: frozenset[str] = frozenset()  # further sampling fields that do what they say
    plain: tuple[tuple[str, float], ...] = ()  # sent with everything, against defaults of the endpoint's own
    context: int | None = None
    per_piece: float = 1.0  # tokens of a prompt for each piece that we count

    @property
    def ends_at_stops(self) -> bool:
        """Whether a stop text may be left to the endpoint: we learn which one it was."""
        return self.keeps_stops or self.tells_stops


class Request(NamedTuple):
    """Where to post what."""

    path: str
    body: dict[str, Any]


class Token(NamedTuple):
    """One token of an endpoint, with the likeliest ones in its place."""

    text: str
    logprob: float | None
    top: tuple[tuple[str, float], ...] = ()


class Choice(NamedTuple):
    """A part of one choice."""

    number: int
    text: str
    tokens: tuple[Token, ...]
    finish: str | None
    stopped_on: str  # the stop text, where the endpoint tells


class Usage(NamedTuple):
    """What the endpoint says that a request took; None where it says nothing that makes sense."""

    read: int | None
    cached: int
    written: int | None


class Chunk(NamedTuple):
    """One event of a stream, or a whole answer."""

    choices: tuple[Choice, ...]
    usage: Usage | None


# ---- requests


def generate(
    features: Features,
    model: str,
    messages: Sequence[Message],
    sampling: Sampling,
    cap: int | None,
    seed: int,
    n: int = 1,
) -> Request:
    """Ask for n texts, streamed."""
    request = _begin(features, model, messages)
    body = request.body
    is_chat = "messages" in body
    body |= {"stream": True, "temperature": sampling.temperature} | _sampling(features, sampling)
    if features.usage:
        body["stream_options"] = {"include_usage": True}
    if cap is not None:
        body[features.cap_field if is_chat else "max_tokens"] = cap
    if features.seed:
        body["seed"] = seed
    if n > 1:
        body["n"] = n
    if features.logprobs:
        body["logprobs"] = True if is_chat else 1
    return request


def likeliest(features: Features, model: str, messages: Sequence[Message], top: int) -> Request:
    """Ask for one token, and what else it could have been."""
    request = _begin(features, model, messages)
    is_chat = "messages" in request.body
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": top} if is_chat else {"logprobs": top}
    cap = features.cap_field if is_chat else "max_tokens"
    return Request(request.path, request.body | {cap: 1, "temperature": 0.0} | asked)


def score(features: Features, model: str, messages: Sequence[Message], top: int) -> Request:
    """Ask for the log-probabilities of the text itself."""
    path, body = _begin(features, model, messages)
    if "prompt" in body and features.echo is not None:
        return Request(
            path,
            body | {"max_tokens": features.echo, "echo": True, "logprobs": max(1, top), "temperature": 0.0},
        )
    cap = features.cap_field if "messages" in body else "max_tokens"
    return Request(path, body | {cap: 1, "prompt_logprobs": top, "temperature": 0.0})


def _begin(features: Features, model: str, messages: Sequence[Message]) -> Request:
    """The path, and the body with model and prompt."""
    body: dict[str, Any] = {"model": model, **dict(features.plain)}
    if not messages[0].role:
        return Request("/completions", body | {"prompt": "".join(m.content for m in messages)})
    *before, last = messages
    sent = [{"role": m.role, "content": m.content} for m in before]
    body["messages"] = sent
    if last.content:
        sent.append({"role": last.role, "content": last.content})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return Request("/chat/completions", body)


def _sampling(features: Features, sampling: Sampling) -> dict[str, Any]:
    """The fields that differ from plain sampling."""
    plain = Sampling()
    names = ("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
    sent = {
        name: getattr(sampling, name) for name in names if getattr(sampling, name) != getattr(plain, name)
    }
    if "repetition_penalty" in sent and "repeat_penalty" in dict(features.plain):
        sent["repeat_penalty"] = sampling.repetition_penalty  # the same by another name
    if sampling.logit_bias:
        sent["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    if sampling.stop_tokens:
        sent["stop_token_ids"] = list(sampling.stop_tokens)
    if sampling.stop and features.ends_at_stops and len(sampling.stop) <= MOST_STOPS:
        sent["stop"] = list(sampling.stop)
        if features.keeps_stops:
            sent["include_stop_str_in_output"] = True
    return sent


# ---- answers


def read_json(data: str | bytes, where: str) -> dict[str, Any]:
    """An object of JSON. Fault for anything else, and for an error that came as an event."""
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Fault(EndpointError(f"{where} sent what is no JSON object: {str(data)[:80]!r}"))
    if found.get("error"):
        error = found["error"]
        said = error.get("message", error) if isinstance(error, dict) else error
        raise Fault(EndpointError(f"{where} broke off: {' '.join(str(said).split())[:300]}"))
    return found


def read_chunk(found: Mapping[str, Any]) -> Chunk:
    """An event of a stream, or a whole answer."""
    choices = [c for c in found.get("choices") or [] if isinstance(c, dict)]
    return Chunk(tuple(_choice(i, c) for i, c in enumerate(choices)), _usage(found.get("usage")))


def _choice(place: int, found: Mapping[str, Any]) -> Choice:
    part = found.get("delta") or found.get("message") or {}
    text = part.get("content") if part else found.get("text")
    index = found.get("index")
    finish = found.get("finish_reason")
    stopped = found.get("stop_reason", found.get("matched_stop", found.get("stopping_word")))
    return Choice(
        index if isinstance(index, int) else place,
        text if isinstance(text, str) else "",
        read_tokens(found.get("logprobs")),
        finish if isinstance(finish, str) else None,
        stopped if isinstance(stopped, str) else "",
    )


def read_tokens(found: Any) -> tuple[Token, ...]:
    """The tokens of a `logprobs` object, of chat or of completions."""
    if not isinstance(found, dict):
        return ()
    content = found.get("content")
    if isinstance(content, list):
        return tuple(_chat_token(entry) for entry in content if isinstance(entry, dict))
    texts = found.get("tokens")
    if not isinstance(texts, list):
        return ()
    logps, tops = (_padded(found.get(name), len(texts)) for name in ("token_logprobs", "top_logprobs"))
    return tuple(
        Token(str(text), sane(p), _top(list(top.items()) if isinstance(top, dict) else []))
        for text, p, top in zip(texts, logps, tops, strict=True)
    )


def _chat_token(entry: Mapping[str, Any]) -> Token:
    tops = [
        (t.get("token"), t.get("logprob")) for t in entry.get("top_logprobs") or [] if isinstance(t, dict)
    ]
    return Token(str(entry.get("token", "")), sane(entry.get("logprob")), _top(tops))


def read_prompt_logprobs(found: Mapping[str, Any]) -> list[Token]:
    """The tokens of a prompt, as vLLM gives them: the first entry of each place is the prompt's own token."""
    given = found.get("prompt_logprobs")
    if given is None and found.get("choices"):
        given = found["choices"][0].get("prompt_logprobs")
    tokens = []
    for place in given or []:
        entries = [e for e in place.values() if isinstance(e, dict)] if isinstance(place, dict) else []
        if not entries:
            tokens.append(Token("", None))
            continue
        tops = [(e.get("decoded_token"), e.get("logprob")) for e in entries]
        tokens.append(
            Token(str(entries[0].get("decoded_token", "")), sane(entries[0].get("logprob")), _top(tops))
        )
    return tokens


def _padded(values: Any, length: int) -> list[Any]:
    values = list(values) if isinstance(values, list) else []
    return (values + [None] * length)[:length]


def _top(pairs: Iterable[tuple[Any, Any]]) -> tuple[tuple[str, float], ...]:
    found = [(str(text), p) for text, value in pairs if (p := sane(value)) is not None]
    return tuple(sorted(found, key=lambda pair: -pair[1]))


def sane(value: Any) -> float | None:
    """A log-probability, or None for what cannot be one."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or math.isnan(value) or value > 1e-4:
        return None
    return min(float(value), 0.0)


def _usage(found: Any) -> Usage | None:
    if not isinstance(found, dict):
        return None
    details = found.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    read = _count(found.get("prompt_tokens"))
    return Usage(read, min(cached or 0, read or 0), _count(found.get("completion_tokens")))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


# ---- from text and tokens to pieces


def tile(text: str, tokens: Sequence[Token]) -> list[Token]:
    """One piece for each token, so that their texts join to `text`.

    Where the tokens' own texts do not (half characters, a stop text held back), the last one carries it all.
    """
    if not tokens:
        return [Token(text, None)] if text else []
    if "".join(token.text for token in tokens) == text:
        return list(tokens)
    return [*(t._replace(text="") for t in tokens[:-1]), tokens[-1]._replace(text=text)]


def align(
    tokens: Sequence[Token], pieces: Sequence[str], where: str
) -> tuple[list[tuple[float, Token | None]], bool]:
    """Log-probability of each piece, and the token that begins with it; whether each begins with one.

    The tokens at the end must give the pieces' text. A token counts for the piece in which it begins.
    """
    text = "".join(pieces)
    first, length = len(tokens), 0
    while first > 0 and length < len(text):
        first -= 1
        length += len(tokens[first].text)
    own = tokens[first:]
    if "".join(t.text for t in own) != text:
        raise EndpointError(f"{where} has no token that begins where {text[:40]!r} does: it cannot be scored")
    if any(t.logprob is None for t in own):
        raise EndpointError(f"{where} left out log-probabilities of the text that it was to score")
    starts: dict[int, list[Token]] = {}
    at = 0
    for token in own:
        starts.setdefault(at, []).append(token)
        at += len(token.text)
    found: list[tuple[float, Token | None]] = []
    at, is_exact = 0, True
    for piece in pieces:
        begins = starts[at][0] if piece and at in starts else None
        is_exact &= begins is not None
        inside = [t for i in range(at, at + len(piece)) for t in starts.get(i, [])]
        found.append((sum(t.logprob or 0.0 for t in inside), begins))
        at += len(piece)
    return found, is_exact
