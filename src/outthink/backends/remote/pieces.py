"""Text of an endpoint as numbered pieces: what a tokenizer is where the endpoint's own is not known.

    encode("Mia has 14") -> ids of "Mia", " has", " 1", "4" or so     decode joins them again, exactly
    chat(messages)       -> mark of a role, pieces, mark ..., mark("assistant")
    conversation(tokens) -> the messages again, the last one begun

Equal pieces have equal ids, so that equal texts from equal places are one node of the token tree. How many
tokens a given text has is an estimate, unless `split` knows; what an endpoint writes comes as its own tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

_PIECE = re.compile(r" ?[^\W\d_]{1,8}|\d{1,3}| ?[^\w\s]{1,2}|\s+|.", re.DOTALL)
ROLES = ("system", "user", "assistant", "tool", "developer")


class Message(NamedTuple):
    """One message; a prompt that is no conversation is one message without a role."""

    role: str
    content: str


class PieceTokenizer:
    """Numbers pieces of text as they are met. Ids are of this process alone."""

    END, EMPTY = 0, 1  # the end token, and a token without text

    def __init__(self, split: Callable[[str], list[str]] | None = None) -> None:
        self.split = split or _PIECE.findall
        self.template: Callable[[Sequence[dict[str, str]]], str] | None = None  # set where it is applied here
        self.eos = (self.END,)
        self._texts: list[str] = ["", "", *("" for _ in ROLES)]
        self._ids: dict[str, int] = {"": self.EMPTY}
        self._marks = {role: 2 + i for i, role in enumerate(ROLES)}
        self._roles = {number: role for role, number in self._marks.items()}

    def intern(self, piece: str) -> int:
        """The number of a piece."""
        number = self._ids.get(piece)
        if number is None:
            number = self._ids[piece] = len(self._texts)
            self._texts.append(piece)
        return number

    def encode(self, text: str, special: bool = True) -> list[int]:
        """A given text as pieces."""
        return [self.intern(piece) for piece in self.split(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The pieces joined; marks of roles and the end token have no text."""
        return "".join([self._texts[token] for token in tokens])

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """A conversation that the assistant is to continue."""
        if self.template is not None:
            return self.encode(self.template(messages))
        found: list[int] = []
        for message in messages:
            found += [self._marks[message["role"]], *self.encode(message["content"])]
        return [*found, self._marks["assistant"]]

    def conversation(self, tokens: Iterable[int]) -> list[Message]:
        """The messages that tokens stand for; the last one is where the endpoint writes."""
        found = [Message("", "")]
        texts: list[str] = []
        for token in tokens:
            role = self._roles.get(token)
            if role is None:
                texts.append(self._texts[token])
                continue
            found[-1] = found[-1]._replace(content="".join(texts))
            found.append(Message(role, ""))
            texts = []
        found[-1] = found[-1]._replace(content="".join(texts))
        return found[1:] if len(found) > 1 and not found[0].content else found

    def detokenizer(self) -> Pusher:
        return Pusher(self)


class Pusher:
    """Every piece is text at once."""

    def __init__(self, tokenizer: PieceTokenizer) -> None:
        self.tokenizer = tokenizer

    def push(self, token: int) -> str:
        return self.tokenizer.decode([token])
