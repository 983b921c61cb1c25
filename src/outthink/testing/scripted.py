"""A model that says what a script says: strategies that follow prompts, tested without a model's noise.

    script(question) -> {reply: probability}
    after(question, start) -> {what follows the text `start`: probability}, None where it has no rule

Its tokens are bytes. `after` is for text that was forced onto a branch: of all starts of what stands there
that have a rule, the longest decides; what is in no rule ends. It is a local model in all else: tree,
budgets, receipts and enumeration work on it.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from outthink.backends.local import LocalBackend
from outthink.backends.toy import ToyModel
from outthink.core.about import About, Prices
from outthink.core.branch import Branch
from outthink.core.types import Can
from outthink.engine.trace import Trace

END, USER, ASSISTANT = 256, 257, 258
VOCAB = 259
Script = Callable[[str], Mapping[str, float]]
After = Callable[[str, str], Mapping[str, float] | None]


class ByteTokenizer:
    """One byte a token; a question stands between two marks."""

    def encode(self, text: str, special: bool = True) -> list[int]:
        return list(text.encode("utf-8", "surrogateescape"))

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(t for t in tokens if t < END).decode("utf-8", "replace")

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return [USER, *self.encode("\n\n".join(m["content"] for m in messages)), ASSISTANT]

    def detokenizer(self) -> ByteDetokenizer:
        return ByteDetokenizer()


class ByteDetokenizer:
    """Whole characters only."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        return self._decoder.decode(bytes([token])) if token < END else ""


class _Scripted:
    """Next-token probabilities of a script."""

    def __init__(self, script: Script, after: After | None) -> None:
        self.script = script
        self.after = after
        self._rules: dict[tuple[bytes, bytes], dict[bytes, float] | None] = {}

    def __call__(self, prefix: tuple[int, ...]) -> list[float]:
        mark = prefix.index(ASSISTANT) if ASSISTANT in prefix else len(prefix)
        question = bytes(t for t in prefix[:mark] if t < END)
        written = bytes(t for t in prefix[mark + 1 :] if t < END)
        row = [-math.inf] * VOCAB
        for token, p in self._next(question, written).items():
            row[token] = math.log(p)
        return row

    def _next(self, question: bytes, written: bytes) -> dict[int, float]:
        for at in reversed(range(len(written) + 1)):
            rest = written[at:]
            agreed = {
                r: p for r, p in (self._rule(question, written[:at]) or {}).items() if r.startswith(rest)
            }
            if agreed:
                total = math.fsum(agreed.values())
                found: dict[int, float] = {}
                for reply, p in agreed.items():
                    token = reply[len(rest)] if len(reply) > len(rest) else END
                    found[token] = found.get(token, 0.0) + p / total
                return found
        return {END: 1.0}

    def _rule(self, question: bytes, start: bytes) -> dict[bytes, float] | None:
        key = (question, start)
        if key not in self._rules:
            asked, given = question.decode("utf-8", "replace"), start.decode("utf-8", "replace")
            rule = self.script(asked) if not start else self.after(asked, given) if self.after else None
            self._rules[key] = {r.encode(): p for r, p in rule.items() if p > 0} if rule else None
        return self._rules[key]


def scripted(
    script: Script,
    after: After | None = None,
    context: int = 8192,
    can: Can = Can.LOCAL,
    name: str = "scripted",
) -> LocalBackend:
    """A backend on which a script speaks; `can` makes it less able, as an endpoint is."""
    prices = Prices(flops_row=1.0, flops_head=0.0, flops_context=0.0, weight_bytes=1.0, slot_bytes=1.0)
    about = About(name, VOCAB, context, frozenset({END}), prices)
    backend = LocalBackend(ToyModel(_Scripted(script, after), VOCAB), ByteTokenizer(), about)
    backend.can = can
    return backend


class Exchange(NamedTuple):
    """A question, and what was written under it."""

    question: str
    reply: str


@dataclass
class Transcript(Trace):
    """Every exchange of a run, in the order of the branches' paths: a golden transcript."""

    heard: dict[tuple[int, ...], Exchange] = field(default_factory=dict)

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        path = branch.place.tree.tokens(branch.cursor)
        question = branch.place.tokenizer.decode(path[: branch.origin])
        self.heard[branch.path] = Exchange(question, branch.text())

    @property
    def exchanges(self) -> list[Exchange]:
        return [self.heard[path] for path in sorted(self.heard)]
