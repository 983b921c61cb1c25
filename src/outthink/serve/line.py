"""Who is served next: urgent before patient, then whoever has least in work, then who came first."""

from __future__ import annotations

from dataclasses import dataclass

PAST = 20  # ended requests that the mean time is over


class Busy(Exception):
    """The line is full; `seconds` is when to come again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many requests are waiting; try again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Entry:
    """One request in line."""

    number: int
    priority: int
    who: str


class Line:
    """At most `max_running` requests run, and at most `max_waiting` wait. Pure bookkeeping.

    A request that is more urgent than one that runs does not wait for a place (up to twice as many may run):
    the engine pre-empts the other. Nobody takes more than half of the line while others have requests here.
    """

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.waiting: dict[int, Entry] = {}
        self.running: dict[int, Entry] = {}
        self.turns: dict[str, int] = {}  # when somebody was last served
        self.mean = 1.0  # seconds that a request runs
        self._turn = 0

    def join(self, entry: Entry) -> None:
        """Stand in line. Raises Busy."""
        everyone = [*self.waiting.values(), *self.running.values()]
        own = sum(other.who == entry.who for other in self.waiting.values())
        has_company = any(other.who != entry.who for other in everyone)
        most = max(1, self.max_waiting // 2) if has_company else self.max_waiting
        if own >= most or len(self.waiting) >= self.max_waiting + self._places():
            raise Busy(self.wait())
        self.waiting[entry.number] = entry

    def next(self) -> Entry | None:
        """The request that starts now, if one does."""
        if not self.waiting:
            return None
        work: dict[str, int] = {}
        for entry in self.running.values():
            work[entry.who] = work.get(entry.who, 0) + 1
        first = min(
            self.waiting.values(),
            key=lambda e: (e.priority, work.get(e.who, 0), self.turns.get(e.who, 0), e.number),
        )
        is_urgent = any(other.priority > first.priority for other in self.running.values())
        if len(self.running) >= self.max_running * (2 if is_urgent else 1):
            return None
        self._turn += 1
        self.turns[first.who] = self._turn
        self.running[first.number] = self.waiting.pop(first.number)
        return first

    def leave(self, number: int, seconds: float | None = None) -> None:
        """A request is gone; `seconds` if it ran to its end."""
        self.waiting.pop(number, None)
        gone = self.running.pop(number, None)
        if gone is not None and seconds is not None:
            self.mean += (seconds - self.mean) / PAST
        here = {entry.who for entry in [*self.waiting.values(), *self.running.values()]}
        self.turns = {who: turn for who, turn in self.turns.items() if who in here}

    def wait(self) -> int:
        """Whole seconds after which there may be a place."""
        return max(1, min(60, round(self.mean * (1 + len(self.waiting) / self.max_running))))

    def _places(self) -> int:
        return max(0, self.max_running - len(self.running))
