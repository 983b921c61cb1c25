"""Results as OpenAI's JSON."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from outthink.serve.wire import Choice, Ended, News, Piece, Token

LEAST = -9999.0  # how OpenAI writes a log-probability of minus infinity


@dataclass(frozen=True)
class Form:
    """What every object of one reply has in common."""

    is_chat: bool
    model: str
    strategy: str
    with_usage: bool = False
    is_echoed: bool = False
    logprobs: int | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, is_chunk: bool) -> dict[str, Any]:
        """The fields before the choices."""
        kind = "chat.completion" if self.is_chat else "text_completion"
        return {
            "id": f"{'chatcmpl' if self.is_chat else 'cmpl'}-{self.id}",
            "object": f"{kind}.chunk" if is_chunk and self.is_chat else kind,
            "created": self.created,
            "model": self.model,
        }


def whole(form: Form, ended: Sequence[Ended]) -> dict[str, Any]:
    """A reply that is not streamed: the choices of all prompts, in order."""
    choices: list[dict[str, Any]] = []
    for one in ended:
        for choice in one.choices:
            choices.append(_whole_choice(form, len(choices), choice, one))
    made = {**form.head(False), "choices": choices, "usage": usage(ended), "outthink": ours(form, ended)}
    if form.is_chat and ended[0].prompt is not None:
        made["prompt_logprobs"] = prompt_logprobs(ended[0].prompt)
    return made


def _whole_choice(form: Form, index: int, choice: Choice, ended: Ended) -> dict[str, Any]:
    made: dict[str, Any] = {"index": index, "finish_reason": choice.finish}
    if form.is_chat:
        made["message"] = {"role": "assistant", "content": choice.text, "refusal": None}
        made["logprobs"] = chat_logprobs(choice.tokens)
    else:
        echo = ended.echo if form.is_echoed else ""
        made["text"] = echo + choice.text
        before = ended.prompt if form.is_echoed else None
        made["logprobs"] = text_logprobs(form, (before or ()) if form.logprobs is not None else (), choice)
    if ended.prompt is not None and not form.is_chat:
        made["prompt_logprobs"] = prompt_logprobs(ended.prompt)
    return made


def usage(ended: Iterable[Ended]) -> dict[str, Any]:
    """Tokens as the engine counted them: every token sampled; those that are in no answer are told apart."""
    ended = list(ended)
    read, written = sum(e.read for e in ended), sum(e.written for e in ended)
    unseen = written - sum(e.kept for e in ended)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "completion_tokens_details": {"reasoning_tokens": unseen},
    }


def ours(form: Form, ended: Sequence[Ended]) -> dict[str, Any]:
    """The `outthink` object: receipts (one a prompt), and what the strategy says of each answer."""
    answers = [{"final": c.final, "score": c.score} for e in ended for c in e.choices]
    made: dict[str, Any] = {"strategy": form.strategy, "answers": answers, "receipt": ended[0].receipt}
    if len(ended) > 1:
        made["receipts"] = [e.receipt for e in ended]
    return made


# ---- log-probabilities


def chat_logprobs(tokens: Sequence[Token] | None) -> dict[str, Any] | None:
    """The `logprobs` of a chat's choice."""
    if tokens is None:
        return None
    content = []
    for token in tokens:
        top = [_entry(text, p) for _, text, p in token.top]
        content.append(_entry(token.text, token.logprob) | {"top_logprobs": top})
    return {"content": content, "refusal": None}


def _entry(text: str, logprob: float | None) -> dict[str, Any]:
    whole = None if "\ufffd" in text else list(text.encode("utf-8", "replace"))
    return {"token": text, "logprob": _finite(logprob) or 0.0, "bytes": whole}


def text_logprobs(form: Form, before: Sequence[Token], choice: Choice) -> dict[str, Any] | None:
    """The `logprobs` of a text's choice, those of the echoed prompt first."""
    if form.logprobs is None or choice.tokens is None:
        return None
    return _text_logprobs([*before, *choice.tokens], form.logprobs, 0)


def _text_logprobs(tokens: Sequence[Token], top: int, offset: int) -> dict[str, Any]:
    offsets, tops = [], []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
        own = {} if token.logprob is None else {token.text: _finite(token.logprob)}
        best = {text: _finite(p) for _, text, p in reversed(token.top)}
        tops.append({**own, **best} if token.logprob is not None else None)
    return {
        "tokens": [t.text for t in tokens],
        "token_logprobs": [_finite(t.logprob) for t in tokens],
        "top_logprobs": tops if top else None,
        "text_offset": offsets,
    }


def prompt_logprobs(tokens: Sequence[Token]) -> list[dict[str, Any] | None]:
    """As vLLM has them: for each token of the prompt, log-probability and rank by token id."""
    found: list[dict[str, Any] | None] = []
    for token in tokens:
        if token.logprob is None:
            found.append(None)
            continue
        ranked = {
            str(i): {"logprob": _finite(p), "rank": rank, "decoded_token": text}
            for rank, (i, text, p) in enumerate(token.top, 1)
        }
        own = {"logprob": _finite(token.logprob), "rank": None, "decoded_token": token.text}
        found.append({str(token.id): own} | ranked)
    return found


def _finite(logprob: float | None) -> float | None:
    return None if logprob is None else max(LEAST, logprob)


# ---- streams


def opening(form: Form, index: int, text: str = "") -> dict[str, Any]:
    """The first chunk of a choice, before anything is written."""
    return _chunk(form, index, {"role": "assistant", "content": text}, text, None, None)


def chunk(form: Form, index: int, piece: Piece, offset: int = 0) -> dict[str, Any]:
    """More of a choice."""
    logprobs = None
    if form.logprobs is not None:
        logprobs = (
            chat_logprobs(piece.tokens)
            if form.is_chat
            else _text_logprobs(piece.tokens, form.logprobs, offset)
        )
    return _chunk(form, index, {"content": piece.text}, piece.text, logprobs, None)


def closing(form: Form, index: int, finish: str) -> dict[str, Any]:
    """The last chunk of a choice."""
    return _chunk(form, index, {}, "", None, finish)


def _chunk(
    form: Form, index: int, delta: Any, text: str, logprobs: Any, finish: str | None
) -> dict[str, Any]:
    said = {"delta": delta} if form.is_chat else {"text": text}
    choice = {"index": index, **said, "logprobs": logprobs, "finish_reason": finish}
    made = {**form.head(True), "choices": [choice]}
    return made | ({"usage": None} if form.with_usage else {})


def last(form: Form, ended: Sequence[Ended]) -> dict[str, Any]:
    """The chunk after all choices: usage and receipt."""
    return {**form.head(True), "choices": [], "usage": usage(ended), "outthink": ours(form, ended)}


def progress(form: Form, news: News) -> dict[str, Any] | None:
    """What those hear who asked for progress: branches that were born, grew, ended; the best offer so far."""
    if not news.lanes and news.best is None:
        return None
    branches = [
        {"branch": lane.path, "text": lane.text, "tokens": lane.tokens}
        | ({"born": True} if lane.is_new else {})
        | ({"again": True} if lane.is_again else {})
        | ({"ended": lane.ended} if lane.ended else {})
        for lane in news.lanes.values()
    ]
    told: dict[str, Any] = {"branches": branches, "written": news.written}
    if news.best is not None:
        text, final, score = news.best
        told["best"] = {"text": text, "final": final, "score": score}
    return {**form.head(True), "choices": [], "outthink": {"progress": told}}
