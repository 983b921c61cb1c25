"""An engine on a thread of its own, that many threads may ask at a time: what a worker of a cluster runs."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from outthink.core import errors
from outthink.core.errors import OutthinkError
from outthink.core.types import Answer

if TYPE_CHECKING:
    from outthink.engine.engine import Engine
    from outthink.engine.request import Request, Run

IDLE = 1.0  # seconds that a thread with nothing to do sleeps at most


class Trouble(NamedTuple):
    """An error that travels: the name of its class in core.errors, or "" with the traceback of another."""

    kind: str
    said: str

    @classmethod
    def of(cls, error: BaseException) -> Trouble:
        """What is to be told of an error."""
        kind = type(error)
        if isinstance(error, OutthinkError) and getattr(errors, kind.__name__, None) is kind:
            return cls(kind.__name__, str(error))
        return cls("", "".join(traceback.format_exception(error)))

    def error(self) -> Exception:
        """The error, as it was raised elsewhere."""
        if not self.kind:
            return RuntimeError(f"a worker failed:\n{self.said}")
        kind: type[OutthinkError] = getattr(errors, self.kind)
        made = kind.__new__(kind)  # some are made from more than their message
        made.args = (self.said,)
        return made


class Outcome(NamedTuple):
    """The end of a request: its answer without the others behind it, or why there is none."""

    answer: Answer | None
    trouble: Trouble | None


class Solver:
    """Runs requests on an engine that it loads. Raises what loading raises."""

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._asked: deque[tuple[Request, Future[Outcome]]] = deque()
        self._working: list[tuple[Run, Future[Outcome]]] = []
        self._is_over = False
        self._loaded: Future[Engine] = Future()
        self._thread = threading.Thread(target=self._work, args=(load,), daemon=True)
        self._thread.start()
        self._engine = self._loaded.result()

    def solve(self, request: Request) -> Outcome:
        """Run a request to its end, beside those of other threads. Raises where the engine itself failed."""
        future: Future[Outcome] = Future()
        self._asked.append((request, future))
        self._engine.nudge()
        if not self._thread.is_alive():  # it may have ended before it saw this one
            self._fail(RuntimeError("the engine has ended"))
        return future.result()

    def close(self) -> None:
        """End everything that runs."""
        self._is_over = True
        self._engine.nudge()
        self._thread.join()

    # ---- the engine's thread

    def _work(self, load: Callable[[], Engine]) -> None:
        try:
            engine = load()
        except BaseException as error:
            self._loaded.set_exception(error)
            return
        self._loaded.set_result(engine)
        try:
            while not self._is_over:
                self._turn(engine)
            self._fail(RuntimeError("the engine was closed"))
        except BaseException as error:  # whoever waits is told
            self._fail(error)
        finally:
            engine.close()

    def _turn(self, engine: Engine) -> None:
        while self._asked:
            self._begin(engine, *self._asked.popleft())
        if not self._working:
            engine.rest(IDLE)
            return
        engine.turn()
        for entry in [entry for entry in self._working if entry[0].is_done]:
            self._working.remove(entry)
            run, future = entry
            future.set_result(_outcome(run.answer, run.error))

    def _begin(self, engine: Engine, request: Request, future: Future[Outcome]) -> None:
        try:
            self._working.append((engine.start(request), future))
        except OutthinkError as error:  # this request's
            future.set_result(_outcome(None, error))

    def _fail(self, error: BaseException) -> None:
        futures = [future for _, future in self._working]
        self._working.clear()
        while self._asked:
            futures.append(self._asked.popleft()[1])
        for future in futures:
            future.set_exception(error)


def _outcome(answer: Answer | None, error: BaseException | None) -> Outcome:
    if answer is None:
        return Outcome(None, Trouble.of(error or RuntimeError("a run ended without an answer")))
    return Outcome(replace(answer, others=()), None)
