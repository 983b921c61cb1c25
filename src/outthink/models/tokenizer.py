"""Text to tokens and back, as the model's directory says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import tokenizers
from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from outthink.models.base import ModelConfig
from outthink.models.config import read_json
from outthink.models.errors import ModelError

MOST_PIECES = 65536  # whose text is remembered

Message = Mapping[str, Any]


class Tokenizer:
    """The tokenizer of a model directory: tokenizer.json, its special tokens and its chat template."""

    def __init__(
        self, core: tokenizers.Tokenizer, settings: Mapping[str, Any], template: str | None = None
    ) -> None:
        self.core = core
        self.settings = settings
        self.template = template
        self.bos = self._id("bos_token")
        eos = self._id("eos_token")
        self.eos: tuple[int, ...] = () if eos is None else (eos,)
        self._pieces: dict[tuple[int, ...], str] = {}

    @classmethod
    def from_directory(cls, directory: Path) -> Tokenizer:
        """Read tokenizer.json, tokenizer_config.json and chat_template.jinja."""
        path = directory / "tokenizer.json"
        core = _read(path) if path.is_file() else _convert(directory)
        core.no_truncation()
        core.no_padding()
        side = directory / "tokenizer_config.json"
        settings = read_json(side) if side.exists() else {}
        return cls(core, settings, _template(directory, settings))

    @property
    def vocab(self) -> int:
        """One more than the largest token id."""
        return max(self.core.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def check(self, config: ModelConfig) -> None:
        """Raise ModelError when tokens could fall outside the model's vocabulary."""
        if self.vocab > config.vocab:
            raise ModelError(
                f"the tokenizer has ids up to {self.vocab - 1}, the model knows {config.vocab} tokens; "
                "put the tokenizer of this very model into its directory"
            )

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Tokens of a text; `special` adds what the model expects around a text, such as a begin token."""
        ids: list[int] = self.core.encode(text, add_special_tokens=special).ids
        wanted = self.settings.get("add_bos_token")
        if special and self.bos is not None and wanted is not None:
            begins = ids[:1] == [self.bos]
            if wanted and not begins:
                return [self.bos, *ids]
            if begins and not wanted and self.core.encode(text, add_special_tokens=False).ids == ids[1:]:
                return ids[1:]
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special ones left out; broken UTF-8 becomes U+FFFD."""
        return str(self.core.decode(list(tokens), skip_special_tokens=True))

    def piece(self, tokens: tuple[int, ...]) -> str:
        """`decode` of a few tokens, remembered: branches write the same few again and again."""
        text = self._pieces.get(tokens)
        if text is None:
            if len(self._pieces) >= MOST_PIECES:
                self._pieces.clear()
            text = self._pieces[tokens] = self.decode(tokens)
        return text

    def chat(self, messages: Sequence[Message], *, is_reply_due: bool = True) -> list[int]:
        """Tokens of a conversation, by the directory's template, with the head of the reply if that is due.

        Without a template: the contents as plain paragraphs.
        """
        if self.template is None:
            return self.encode("\n\n".join(str(message["content"]) for message in messages))
        return self.encode(self._render(messages, is_reply_due), special=False)

    def resume(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of a conversation up to the last character of its last message, which is to be written on.

        Raises ModelError where the template changes that message, so that its end cannot be found.
        """
        last = str(messages[-1]["content"])
        if self.template is None:
            return self.chat(messages)
        text = self._render(messages, False)
        at = text.rfind(last) if last in text else text.rfind(last.strip())
        if at < 0:
            raise ModelError("the chat template changes the last message, so it cannot be continued")
        return self.encode(text[:at] + last, special=False)

    def detokenizer(self) -> Detokenizer:
        """Text piece by piece, as tokens come."""
        return Detokenizer(self)

    def _render(self, messages: Sequence[Message], is_reply_due: bool) -> str:
        """Fill in the template."""
        special = {name: self._text(name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
        try:
            return self._compiled.render(
                messages=list(messages),
                add_generation_prompt=is_reply_due,
                **{name: text for name, text in special.items() if text is not None},
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise ModelError(
                f"the chat template refuses these messages ({error}); send others or plain text"
            ) from None

    @cached_property
    def _compiled(self) -> Template:
        """The template, compiled once: that takes milliseconds. Templates come with models, so they run in a
        sandbox."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        return environment.from_string(self.template or "")

    def _text(self, name: str) -> str | None:
        """A special token of the settings, given as a string or as a record."""
        value = self.settings.get(name)
        if isinstance(value, Mapping):
            value = value.get("content")
        return value if isinstance(value, str) else None

    def _id(self, name: str) -> int | None:
        text = self._text(name)
        return None if text is None else self.core.token_to_id(text)


def _read(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ModelError(f"{path} is not a tokenizer ({error}); download it again") from None


def _convert(directory: Path) -> tokenizers.Tokenizer:
    """Other forms (vocab.json and merges.txt, sentencepiece) go through transformers."""
    import transformers  # slow to import, and only needed here

    try:
        slow = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
        return tokenizers.Tokenizer.from_str(slow.backend_tokenizer.to_str())
    except Exception as error:  # every tokenizer class fails in its own way
        line = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{directory} has no tokenizer.json, nor another tokenizer that can be read ({line})"
        ) from None


def _template(directory: Path, settings: Mapping[str, Any]) -> str | None:
    """The chat template: a file of its own, or a setting (one, or several by name)."""
    path = directory / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    given = settings.get("chat_template")
    if isinstance(given, list):
        named = {entry["name"]: entry["template"] for entry in given}
        return named.get("default")
    return given if isinstance(given, str) else None


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


class Detokenizer:
    """Text of a growing list of tokens, piece by piece, never half a character.

    A token may be part of a character (byte-level vocabularies), and a token's text may depend on the one
    before (sentencepiece drops the space of the first word). So a few settled tokens are decoded again as
    context, and text that ends in U+FFFD waits for the tokens that complete it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.tokens: list[int] = []
        self.context = 0  # decoding starts here
        self.settled = 0  # text of tokens before this one was returned

    def push(self, token: int) -> str:
        """Text that this token makes certain."""
        self.tokens.append(token)
        text = self._new()
        if not text or text.endswith("\ufffd"):
            return ""
        self._settle()
        return text

    def ahead(self, tokens: Sequence[int]) -> str:
        """Text that these tokens would make certain, without taking them; empty where it would end within a
        character."""
        before = self.tokenizer.piece(tuple(self.tokens[self.context : self.settled]))
        text = self.tokenizer.decode([*self.tokens[self.context :], *tokens])[len(before) :]
        return "" if text.endswith("\ufffd") else text

    def skip(self, tokens: Sequence[int]) -> None:
        """Take tokens whose text `ahead` has given."""
        self.tokens += tokens
        self._settle()

    def flush(self) -> str:
        """Text that is still waiting; an unfinished character becomes U+FFFD."""
        text = self._new()
        self._settle()
        return text

    def _new(self) -> str:
        """Text of the tokens that are not settled."""
        before = self.tokenizer.piece(tuple(self.tokens[self.context : self.settled]))
        return self.tokenizer.piece(tuple(self.tokens[self.context :]))[len(before) :]

    def _settle(self) -> None:
        self.context, self.settled = self.settled, len(self.tokens)
