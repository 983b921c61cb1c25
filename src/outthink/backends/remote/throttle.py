"""How many requests an endpoint gets at a time: more while it serves them, fewer when it says so.

    answered           limit += 1 / limit                       one more for each round of answers
    429, 503           limit = min(limit, requests in flight) / 2
    stream cut short   the same: some servers end a stream when the next request comes
    first token late   limit *= 3/4                             later than SLOW times what is usual

After a cut nothing is cut again for COOL seconds: the answers that follow are to requests sent before it.
"""

from __future__ import annotations

from math import inf

SLOW, LATE = 4.0, 1.0  # late is above SLOW times the usual time plus LATE seconds
COOL = 1.0


class Throttle:
    """The cap of one endpoint. Times are seconds of any clock that only grows."""

    def __init__(self, most: int, start: int = 16) -> None:
        self.most = most
        self.limit = float(min(start, most))
        self.usual: float | None = None  # seconds to the first token
        self.cut_at = float("-inf")

    @property
    def room(self) -> int:
        """Requests at a time."""
        return max(1, int(self.limit))

    def answered(self, first: float, now: float) -> None:
        """A request was served; its first token took `first` seconds."""
        if self.usual is None:
            self.usual = first
        if first > SLOW * self.usual + LATE:
            self._cut(0.75, now)
        else:
            self.limit = min(float(self.most), self.limit + 1 / self.limit)
        self.usual += (first - self.usual) / 16

    def refused(self, now: float, in_flight: float = inf) -> None:
        """The endpoint says, or shows, that so many requests were too much."""
        self._cut(0.5, now, in_flight)

    def _cut(self, factor: float, now: float, in_flight: float = inf) -> None:
        if now - self.cut_at >= COOL:
            self.cut_at = now
            self.limit = max(1.0, min(self.limit, in_flight) * factor)
