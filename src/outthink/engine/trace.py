"""What happens in an engine, one method per event; the default does nothing.

Progress bars, streaming, metrics and `explain` are listeners. A listener runs on the engine thread: be quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from outthink.core.branch import Branch
    from outthink.core.types import Answer
    from outthink.engine.request import Run
    from outthink.engine.steps import Step


class PassInfo(NamedTuple):
    """One pass over a model."""

    model: str
    rows: int
    drawn: int
    cache_used: int  # slots that hold cache
    forward_seconds: float
    seconds: float  # of the whole turn, the engine's part included


class Trace:
    """Subclass, and override what you want to hear."""

    wants_drafts = (
        False  # whether to hear `speculated`, which copies distributions: nobody pays unless it is set
    )

    def started(self, run: Run) -> None:
        """A request enters the engine."""

    def born(self, branch: Branch) -> None:
        """A branch was forked or opened (`branch.path`); the root's path is empty."""

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        """Tokens were written on a branch, in order."""

    def published(self, branch: Branch, length: int) -> None:
        """The answer begins with the first `length` tokens of this branch."""

    def speculated(self, branch: Branch, steps: Sequence[Step], written: int) -> None:
        """A stretch of so many tokens has ended; `steps` are its checked drafts, in order."""

    def closed(self, branch: Branch, why: str) -> None:
        """A branch goes: "done", "killed", or "dropped" by its strategy. Its tokens can still be read."""

    def offered(self, run: Run, answer: Answer) -> None:
        """A strategy offered an answer."""

    def passed(self, info: PassInfo) -> None:
        """A pass ended."""

    def ended(self, run: Run, answer: Answer) -> None:
        """A request has its answer."""

    def warned(self, message: str) -> None:
        """Something a person should know: a task that holds the loop, a degradation."""


class Traces(Trace):
    """Several listeners as one."""

    def __init__(self, *listeners: Trace) -> None:
        self.listeners = list(listeners)
        self.wants_drafts = any(listener.wants_drafts for listener in listeners)

    def started(self, run: Run) -> None:
        for listener in self.listeners:
            listener.started(run)

    def born(self, branch: Branch) -> None:
        for listener in self.listeners:
            listener.born(branch)

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        for listener in self.listeners:
            listener.wrote(branch, tokens)

    def published(self, branch: Branch, length: int) -> None:
        for listener in self.listeners:
            listener.published(branch, length)

    def speculated(self, branch: Branch, steps: Sequence[Step], written: int) -> None:
        for listener in self.listeners:
            listener.speculated(branch, steps, written)

    def closed(self, branch: Branch, why: str) -> None:
        for listener in self.listeners:
            listener.closed(branch, why)

    def offered(self, run: Run, answer: Answer) -> None:
        for listener in self.listeners:
            listener.offered(run, answer)

    def passed(self, info: PassInfo) -> None:
        for listener in self.listeners:
            listener.passed(info)

    def ended(self, run: Run, answer: Answer) -> None:
        for listener in self.listeners:
            listener.ended(run, answer)

    def warned(self, message: str) -> None:
        for listener in self.listeners:
            listener.warned(message)
