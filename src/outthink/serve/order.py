"""From a body that has been checked to orders for the engine."""

from __future__ import annotations

import ast
import secrets
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

from outthink import spec
from outthink.core.errors import BadInput, UnknownName
from outthink.core.needs import check_remote
from outthink.core.types import Budget, Sampling
from outthink.serve.fields import ChatBody, Common, TextBody
from outthink.serve.wire import Limits, Order


class NoModel(UnknownName):
    """There is no such model here."""


def chat_orders(
    body: ChatBody, model: str, limits: Limits, who: str, number: Callable[[], int]
) -> list[Order]:
    """The one order of a chat."""
    if body.max_tokens and body.max_completion_tokens and body.max_tokens != body.max_completion_tokens:
        raise BadInput("max_tokens and max_completion_tokens differ: give one of them")
    if body.top_logprobs and not body.logprobs:
        raise BadInput("top_logprobs needs logprobs=true")
    if body.continue_final_message and body.add_generation_prompt:
        raise BadInput("continue_final_message needs add_generation_prompt=false: it is one turn or another")
    messages = tuple(message.plain() for message in body.messages)
    if body.continue_final_message and not messages[-1]["content"].strip():
        raise BadInput("continue_final_message: the last message is empty")
    order = _common(body, model, limits, who, body.max_completion_tokens or body.max_tokens)
    order |= {
        "messages": messages,
        "is_reply_due": body.add_generation_prompt is not False,
        "is_continued": bool(body.continue_final_message),
        "logprobs": (body.top_logprobs or 0) if body.logprobs else None,
    }
    return [Order(number(), **order)]


def text_orders(
    body: TextBody, model: str, limits: Limits, who: str, number: Callable[[], int]
) -> list[Order]:
    """An order for every prompt."""
    scored_only = body.max_tokens == 0
    if scored_only and not (body.echo or body.prompt_logprobs is not None):
        raise BadInput("max_tokens=0 writes nothing: it goes with echo or prompt_logprobs")
    if scored_only and (body.n or 1) > 1:
        raise BadInput("n copies of a prompt that nothing is written to: leave n out")
    common = _common(body, model, limits, who, body.max_tokens or (1 if scored_only else None))
    if body.echo and body.logprobs is not None:  # the prompt's are told too
        common["prompt_logprobs"] = max(body.logprobs, body.prompt_logprobs or 0)
    common |= {
        "logprobs": body.logprobs,
        "is_scored_only": scored_only,
        "is_echoed": bool(body.echo),
    }
    return [Order(number(), **common, **prompt) for prompt in _prompts(body.prompt)]


def _prompts(prompt: Any) -> list[dict[str, Any]]:
    if isinstance(prompt, str):
        return [{"text": prompt}]
    if isinstance(prompt[0], int):
        return [{"tokens": tuple(prompt)}]
    return [{"text": one} if isinstance(one, str) else {"tokens": tuple(one)} for one in prompt]


def _common(body: Common, model: str, limits: Limits, who: str, max_tokens: int | None) -> dict[str, Any]:
    return {
        "speculate": _drafter(body.speculate),
        "strategy": strategy_of(body, model),
        "n": body.n or 1,
        "seed": secrets.randbits(53) if body.seed is None else body.seed % 2**64,
        "budget": _least(_budget(body), limits),
        "sampling": _sampling(body, max_tokens),
        "prompt_logprobs": body.prompt_logprobs,
        "is_streamed": bool(body.stream),
        "is_watched": bool(body.stream and body.progress),
        "priority": body.priority or 0,
        "share": who,
        "limits": limits,
    }


def strategy_of(body: Common, model: str) -> Any:
    """The strategy that body or model name ask for. BadInput for one that strangers may not have."""
    rest = body.model.removeprefix(model)
    plus, named = rest[:1], rest[1:]
    if not body.model.startswith(model) or plus not in ("", "+") or (plus and not named.strip()):
        raise NoModel("model", body.model[:80], [model])
    if plus and body.strategy is not None:
        raise BadInput("the strategy is given twice: in the model's name, and as strategy")
    text = named if plus else "once" if body.strategy is None else body.strategy
    part = spec.parse(text if body.verifier is None else _with_verifier(text, body.verifier))
    check_remote(part)
    return part


@cache
def strategies() -> list[str]:
    """The names of those that strangers may ask for."""
    names = spec.names("strategy")
    return [name for name in names if getattr(spec.find(name, "strategy"), "remote_safe", False)]


@cache
def summaries() -> dict[str, str]:
    """What each of them does, in a line."""
    return {name: spec.describe(spec.find(name, "strategy")).summary for name in strategies()}


def _drafter(text: str | None) -> Any:
    """Who drafts. BadInput for one that strangers may not have."""
    if text is None or text == "none":
        return text
    part = spec.parse(text, "speculate")
    check_remote(part)
    return part


def _with_verifier(strategy: str, verifier: str) -> str:
    """The strategy's configuration with that verifier in it. Neither is evaluated, only put together."""
    check_remote(spec.parse(verifier, "verify"))
    spec_of = ast.parse(strategy.strip(), mode="eval").body if _is_expression(strategy) else None
    call = ast.Call(spec_of, [], []) if isinstance(spec_of, ast.Name) else spec_of
    if not isinstance(call, ast.Call):
        raise BadInput(f"cannot put a verifier into {strategy[:60]!r}")
    call.keywords.append(ast.keyword("verifier", ast.parse(verifier.strip(), mode="eval").body))
    return ast.unparse(call)


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _budget(body: Common) -> Budget:
    if body.budget is None:
        return Budget()
    if isinstance(body.budget, str):
        return spec.parse_budget(body.budget)
    return Budget(**body.budget.model_dump())


def _least(budget: Budget, limits: Limits) -> Budget:
    """The caps that were asked for, where they are below the server's.

    The server's own cap on tokens is kept by the engine's side, without reservations: these hand a request
    that names no max_tokens its tokens branch by branch, and its branches would wait for one another.
    """
    caps = budget.caps()
    if "dollars" in caps:
        raise BadInput("a local model costs no dollars: cap something else")
    if "written" in caps:
        caps["written"] = min(int(caps["written"]), limits.written)
    caps["seconds"] = min(caps.get("seconds", limits.seconds), limits.seconds)
    return Budget(**caps)  # type: ignore[arg-type]


def _sampling(body: Common, max_tokens: int | None) -> Sampling:
    """How it writes; what is left out is as OpenAI has it, so the temperature is 1."""
    given: dict[str, Any] = {
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "max_tokens": max_tokens,
        "stop": body.stops(),
        "stop_tokens": tuple(body.stop_token_ids or ()),
        "keep_stop": bool(body.include_stop_str_in_output),
        "ignore_eos": bool(body.ignore_eos),
        "top_k": max(0, body.top_k or 0),
        "logit_bias": _bias(body.logit_bias or {}),
    }
    known = {f.name for f in fields(Sampling)} & Common.model_fields.keys() - given.keys()
    given |= {name: float(value) for name in known if (value := getattr(body, name)) is not None}
    return Sampling(**given)


def _bias(bias: dict[str, float]) -> tuple[tuple[int, float], ...]:
    bad = next((t for t in bias if not (t.isascii() and t.isdigit() and len(t) < 10)), None)
    if bad is not None:
        raise BadInput(f"logit_bias: {bad[:20]!r} is no token id")
    return tuple(sorted((int(token), value) for token, value in bias.items()))
