"""The seams. Each has at most five methods; a part is a frozen dataclass whose repr is its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from outthink.core.about import About
from outthink.core.receipt import Cost
from outthink.core.types import Answer, Can, Candidate, Score

if TYPE_CHECKING:
    from outthink.core.branch import Branch
    from outthink.core.jobs import Inbox, Job


@runtime_checkable
class Strategy(Protocol):
    """Turns a problem into an answer by spending on branches below `root`."""

    async def __call__(self, root: Branch, /) -> Answer: ...


@runtime_checkable
class Verifier(Protocol):
    """Judges candidates, always a batch: one Score each, in order. `records` are the statistics it wants
    recorded."""

    @property
    def records(self) -> tuple[str, ...]: ...

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]: ...


@runtime_checkable
class Warp(Protocol):
    """A change of the next-token distribution that depends on the exact prefix.

    State is a value folded over tokens: `start(prompt) -> state`, `next(state, token) -> state`; never
    mutated. Called as `(logits[rows, vocab], states) -> logits[rows, vocab]`, pure, -inf for what must not
    be drawn.
    """

    def start(self, prompt: Sequence[int]) -> Any: ...

    def next(self, state: Any, token: int) -> Any: ...

    def __call__(self, logits: Any, states: Sequence[Any]) -> Any: ...


class Tokenizer(Protocol):
    """Text to tokens and back, exactly: decode(encode(text, special=False)) == text."""

    def encode(self, text: str, special: bool = True) -> list[int]: ...

    def decode(self, tokens: Sequence[int]) -> str: ...

    def chat(self, messages: Sequence[Mapping[str, str]], *, is_reply_due: bool = True) -> list[int]: ...

    def resume(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """A conversation whose last message is to be written on."""
        ...

    def detokenizer(self) -> Any:
        """`push(token) -> str` of text that is now certain, never half a character."""
        ...


class Backend(Protocol):
    """Something that evaluates jobs. Answers arrive in the inbox, at once or later."""

    is_remote: bool  # takes GenerateJob and ScoreJob; else PassJob
    can: Can
    about: About
    notes: list[str]  # what a receipt should say, such as a change of threads
    tokenizer: Tokenizer

    @property
    def machine(self) -> str:
        """What the last bits of a result may depend on: type, device, threads."""
        ...

    def submit(self, jobs: Sequence[Job], inbox: Inbox) -> None:
        """Take jobs. Results are put in `inbox`, one per job, errors as exceptions."""
        ...

    def step(self) -> bool:
        """Do one unit of work now; whether there was any. A remote backend has none."""
        ...

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Stop working on these; nothing more arrives for them."""
        ...

    def price(self, job: Job) -> Cost:
        """What a job will cost, as far as is known before it runs."""
        ...

    def step_times(self) -> Mapping[int, float]:
        """Seconds of a forward pass by its number of rows, measured now."""
        ...
