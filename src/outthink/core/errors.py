"""The errors that users meet.

OutthinkError                an error whose message is meant to be read, without a traceback
 +- BadInput (ValueError)    something given was wrong; the message says what would do
 |   +- UnknownName          no such model, task, strategy, field; names the nearest
 |   +- PromptTooLong        the prompt does not fit the model's context
 |   +- CacheFull            one request alone needs more cache than the engine may use
 |   +- CannotDo             the backend lacks what a strategy needs
 +- VerifierFailed           a verifier raised, or took longer than its time limit
 +- Misuse                   a strategy broke a rule of the engine (awaited a foreign thing, ...)
     +- Deadlock             nothing runnable and nothing in flight
Interrupted (BaseException)  a task is being ended; never swallow it
 +- Cancelled                its result is no longer wanted
 +- BudgetExceeded           the scope it runs in is exhausted
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class OutthinkError(Exception):
    """An error whose message is meant to be read."""


class BadInput(OutthinkError, ValueError):
    """Something given was wrong; the message says what would do."""


class UnknownName(BadInput):
    """No such name. `UnknownName("strategy", "vot", names)` names the nearest and all there are; `elsewhere`
    says what else has that name."""

    def __init__(self, kind: str, name: str, known: Iterable[str], elsewhere: str = "") -> None:
        names = sorted(known)
        near = next(filter(None, (difflib.get_close_matches(n, names, 1) for n in (name, name.lower()))), [])
        hint = f"; did you mean {near[0]!r}?" if near else "."
        hint = f"; it is {elsewhere}." if elsewhere else hint
        super().__init__(f"no {kind} named {name!r}{hint} There are: {', '.join(names)}")


class PromptTooLong(BadInput):
    """The prompt does not fit the model's context."""


class CacheFull(BadInput):
    """One request alone needs more cache than the engine may use."""


class CannotDo(BadInput):
    """The backend lacks what a strategy needs."""


class VerifierFailed(OutthinkError, RuntimeError):
    """A verifier raised, or took longer than its time limit."""


class Misuse(OutthinkError, RuntimeError):
    """A strategy broke a rule of the engine."""


class Deadlock(Misuse):
    """Nothing is runnable and nothing is in flight."""


class Interrupted(BaseException):
    """A task is being ended; every further await raises it again."""


class Cancelled(Interrupted):
    """The result of this task is no longer wanted."""


class BudgetExceeded(Interrupted):
    """The scope is exhausted; only the block that opened it swallows this."""

    def __init__(self, scope: Any, what: str) -> None:
        super().__init__(what)
        self.scope = scope
        self.what = what
