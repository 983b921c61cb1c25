"""Python that runs elsewhere: worker processes by default, daemon threads for calls that only wait.

A Python thread beside torch costs every torch call up to 5 ms (the interpreter lock), so work goes to
processes.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from outthink.core.jobs import Inbox
from outthink.core.tasks import Offload, Task
from outthink.core.trampoline import Trampoline

WORKERS = 2


@dataclass(eq=False)
class Call:
    """One call on its way."""

    task: Task
    trap: Offload
    deadline: float | None


class Offloads:
    """Calls in flight, and the inbox that the engine sleeps on."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self.inbox = Inbox(self._arrived.set)
        self.in_flight: dict[Task, Call] = {}
        self._pool: ProcessPoolExecutor | None = None

    def begin(self, task: Task, trap: Offload) -> None:
        """Start a call."""
        deadline = None if trap.timeout is None else time.monotonic() + trap.timeout
        call = Call(task, trap, deadline)
        self.in_flight[task] = call
        if trap.io:
            threading.Thread(target=self._in_thread, args=(call,), daemon=True).start()
        else:
            self._in_process(call)

    def _in_thread(self, call: Call) -> None:
        try:
            self.inbox.put(call, call.trap.function(*call.trap.args))
        except Exception as error:  # delivered to the task
            self.inbox.put(call, error)

    def _in_process(self, call: Call) -> None:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))
        future = self._pool.submit(call.trap.function, *call.trap.args)
        future.add_done_callback(lambda done: self._from_process(call, done))

    def _from_process(self, call: Call, done: Future[Any]) -> None:
        error = done.exception() if not done.cancelled() else None
        if not done.cancelled():
            self.inbox.put(call, error if error is not None else done.result())

    def wait(self, seconds: float | None) -> None:
        """Sleep until something arrives, a call's own time is up, or `seconds` have passed."""
        ends = [c.deadline - time.monotonic() for c in self.in_flight.values() if c.deadline is not None]
        limits = [*ends, *([seconds] if seconds is not None else [])]
        self._arrived.wait(max(0.0, min(limits)) if limits else 1.0)
        self._arrived.clear()
        self._time_out()

    def _time_out(self) -> None:
        now = time.monotonic()
        late = [c for c in self.in_flight.values() if c.deadline is not None and now >= c.deadline]
        for call in late:
            self.inbox.put(call, TimeoutError(f"an offloaded call took longer than {call.trap.timeout} s"))
        if any(not c.trap.io for c in late):
            self._restart(set(map(id, late)))

    def _restart(self, late: set[int]) -> None:
        """Kill the workers, since one of them hangs, and give the other calls to new ones."""
        self._kill()
        for call in list(self.in_flight.values()):
            if id(call) not in late and not call.trap.io:
                self._in_process(call)

    def deliver(self, call: Any, result: Any, trampoline: Trampoline) -> None:
        """Wake the task that waits for a call; what nobody waits for any more is dropped."""
        if not isinstance(call, Call) or self.in_flight.get(call.task) is not call:
            return
        if isinstance(result, BrokenProcessPool) and self._pool is None:
            return  # it was given to new workers
        del self.in_flight[call.task]
        if isinstance(result, BrokenProcessPool):
            self._kill()
        error = result if isinstance(result, BaseException) else None
        trampoline.wake(call.task, None if error else result, error)

    def abandon(self, task: Task) -> None:
        """Nobody waits for this any more."""
        self.in_flight.pop(task, None)

    def close(self) -> None:
        """Stop the workers."""
        self._kill()

    def _kill(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
