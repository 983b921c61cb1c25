"""Bodies of requests, typed: OpenAI's fields, those of vLLM that clients rely on, and ours.

A field that nobody knows is refused, unless it is null; so is one that is known and not there yet, unless it
asks for nothing. Fields that change nothing about the answer are taken and not used.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

NOT_YET = frozenset(
    "tools tool_choice functions function_call parallel_tool_calls modalities audio prediction suffix "
    "reasoning_effort verbosity web_search_options guided_json guided_regex guided_choice guided_grammar "
    "structured_outputs use_beam_search length_penalty min_tokens bad_words truncate_prompt_tokens best_of "
    "chat_template chat_template_kwargs documents logits_processors mm_processor_kwargs echo tool_calls "
    "annotations skip_special_tokens add_special_tokens continuous_usage_stats".split()
)
UNUSED = frozenset(
    "user store metadata service_tier safety_identifier prompt_cache_key prompt_cache_retention "
    "include_obfuscation".split()
)
AS_IT_IS = {"best_of": 1, "length_penalty": 1.0, "skip_special_tokens": True, "add_special_tokens": True}


def _is_text(text: str) -> str:
    """Text that can be encoded: JSON may hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start} is half of a surrogate pair") from None
    return text


def _asks_nothing(name: str, value: Any) -> bool:
    """Whether a field that is not there yet is given as it would be anyway."""
    if name in AS_IT_IS:
        return isinstance(value, bool) == isinstance(AS_IT_IS[name], bool) and value == AS_IT_IS[name]
    return value is False or value in (0, "", "none", [], {})


def _only_text(given: Any, what: str) -> Any:
    """Raises ValueError for something of a type that is not text."""
    if isinstance(given, dict) and isinstance(given.get("type"), str) and given["type"] != "text":
        raise ValueError(f"{what} {given['type'][:40]!r} is not supported yet; 'text' is")
    return given


Text = Annotated[str, AfterValidator(_is_text)]
Stop = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_is_text)]
Token = Annotated[int, Field(ge=0, lt=2**31)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Body(BaseModel):
    """Strict: no strings for numbers, no unknown names."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        kept = {}
        for name, value in given.items():
            if name in cls.model_fields:
                kept[name] = value
            elif name in UNUSED or value is None or (name in NOT_YET and _asks_nothing(name, value)):
                continue
            elif name in NOT_YET:
                raise ValueError(f"{name} is not supported yet; leave it out")
            else:
                near = difflib.get_close_matches(name, cls.model_fields, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"unknown field {name[:40]!r}{hint}")
        return kept


class StreamOptions(Body):
    """What a stream holds besides text."""

    include_usage: bool | None = None


class ResponseFormat(Body):
    """Text is all there is yet."""

    type: str = "text"

    @model_validator(mode="before")
    @classmethod
    def _text_only(cls, given: Any) -> Any:
        return _only_text(given, "response_format")


class Caps(Body):
    """Most that an answer may cost; the server's own limits bind as well."""

    written: int | None = Field(None, ge=1, description="tokens sampled, all branches together")
    positions: int | None = Field(None, ge=1, description="rows that the model evaluates")
    passes: int | None = Field(None, ge=1)
    flops: Number | None = Field(None, gt=0)
    seconds: Number | None = Field(None, gt=0)


class Common(Body):
    """What both kinds of request take."""

    model: Text = Field(min_length=1, max_length=5000, description="NAME, or NAME+strategy: pocket+vote(n=8)")
    n: int | None = Field(None, ge=1, le=128)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    temperature: Number | None = Field(None, ge=0, le=2)
    top_p: Number | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    presence_penalty: Number | None = Field(None, ge=-2, le=2)
    frequency_penalty: Number | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Bias] | None = Field(None, max_length=1024)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    # those of vLLM
    top_k: int | None = Field(None, ge=-1, description="0 and -1: all")
    min_p: Number | None = Field(None, ge=0, le=1)
    repetition_penalty: Number | None = Field(None, gt=0, le=10)
    include_stop_str_in_output: bool | None = None
    stop_token_ids: list[Token] | None = Field(None, max_length=64)
    ignore_eos: bool | None = None
    prompt_logprobs: int | None = Field(None, ge=0, le=20)
    priority: int | None = Field(None, ge=-100, le=100, description="the lower, the earlier")
    # ours
    strategy: Text | None = Field(None, max_length=4096, description="how to spend: vote(n=8)")
    verifier: Text | None = Field(None, max_length=4096, description="for a strategy that takes one")
    budget: Caps | Text | None = Field(None, description="caps, or text: written=4000,seconds=10")
    speculate: Text | None = Field(
        None, max_length=4096, description="who drafts: none; the text stays the same"
    )
    progress: bool | None = Field(None, description="tell of branches and offers in the stream")

    def stops(self) -> tuple[str, ...]:
        """The stop texts."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class Part(Body):
    """A part of a message."""

    type: Literal["text"]
    text: Text

    @model_validator(mode="before")
    @classmethod
    def _text_only(cls, given: Any) -> Any:
        return _only_text(given, "a part of type")


class Message(Body):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[Part], Field(max_length=256)]
    name: Text | None = None

    def plain(self) -> dict[str, str]:
        """As a chat template takes it."""
        text = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatBody(Common):
    """/v1/chat/completions."""

    messages: list[Message] = Field(min_length=1, max_length=1024)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None


class TextBody(Common):
    """/v1/completions."""

    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=128)]
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1, max_length=128)]
    )
    max_tokens: int | None = Field(None, ge=0)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = None
