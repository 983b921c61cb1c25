"""v(rows): what a pass of so many rows takes, measured.

    v(r) = forward(r) + a + b r

`forward` is timed once per backend on rows without context, at sizes 1, 2, 4 ... and linear between them; a
and b, the engine's own part and the context, are fitted to the passes that run (least squares that forgets).
Passes of jobs with several steps have an a and b of their own: nobody looks in between.

Others use the processor too, which makes a measurement longer and never shorter. So `forward` is at most that
of more rows and at most what a pass has taken, and one slow pass moves a and b by little.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

FORGET = 0.98  # the weight of the past after one more pass
MEMORY = 16  # passes of a size that its mean is taken over
CREDIBLE = (2.0, 0.125)  # of the line and of the forward: what a pass is believed to take over its forward


class Line:
    """What passes took over their forward: a + b r, but near what was seen of such sizes where any were.

    One line for all would let many large passes say what small ones take. Sizes are taken together by powers
    of two; below all that were seen, a pass is taken for a part of the least one.
    """

    def __init__(self, a: float, b: float) -> None:
        self.a, self.b = self._first = a, b
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._seen: dict[int, Seen] = {}

    def __call__(self, rows: int) -> float:
        found = self.a + self.b * rows
        if not self._seen:
            return found
        size = rows.bit_length()
        near = self._seen.get(size)
        if near is not None:
            return max(0.0, near.over + self.b * (rows - near.rows))
        more = [self._seen[known] for known in sorted(self._seen) if known > size]
        less = [self._seen[known].over for known in self._seen if known < size]
        if more and less:
            found = min(found, more[0].over)
        elif more:
            found = min(found, self._first[0] + more[0].over * rows / more[0].rows)
        return max([found, *less])

    def seen(self, rows: int) -> int:
        """How many passes of about that size it has seen, up to MEMORY."""
        found = self._seen.get(rows.bit_length())
        return 0 if found is None else found.passes

    def observe(self, rows: int, over: float, base: float) -> None:
        """A pass took so long over its forward of `base` seconds."""
        over = min(over, CREDIBLE[0] * self(rows) + CREDIBLE[1] * base)
        self._n = FORGET * self._n + 1
        self._x = FORGET * self._x + rows
        self._y = FORGET * self._y + over
        self._xx = FORGET * self._xx + rows * rows
        self._xy = FORGET * self._xy + rows * over
        spread = self._xx - self._x * self._x / self._n
        if spread > 0.5 * self._n:
            self.b = max(0.0, (self._xy - self._x * self._y / self._n) / spread)
        self.a = max(0.0, (self._y - self.b * self._x) / self._n)
        size = rows.bit_length()
        self._seen[size] = self._seen.get(size, Seen(0, 0.0, 0.0)).and_one(rows, over)


class Seen(NamedTuple):
    """Means over the passes of about one size, the last ones above all."""

    passes: int
    rows: float
    over: float

    def and_one(self, rows: int, over: float) -> Seen:
        passes = min(self.passes + 1, MEMORY)
        part = 1 / passes
        return Seen(passes, self.rows + part * (rows - self.rows), self.over + part * (over - self.over))


class Curve:
    """Seconds of a pass by rows."""

    def __init__(self, forward: Mapping[int, float]) -> None:
        self.rows = sorted(forward)
        self.forward = [forward[rows] for rows in self.rows]
        self.single, self.several = Line(1e-4, 1e-5), Line(2e-5, 5e-6)
        self._base: list[float] = []  # forward(r), filled in as it is asked for
        self._smooth()

    def _smooth(self) -> None:
        """More rows never take less time: what says otherwise is noise."""
        self._base.clear()
        for i in range(len(self.forward) - 2, -1, -1):
            self.forward[i] = min(self.forward[i], self.forward[i + 1])

    def base(self, rows: int) -> float:
        """forward(rows), linear between what was measured and beyond it."""
        base = self._base
        while len(base) <= rows:
            base.append(self._between(len(base)))
        return base[rows]

    def _between(self, rows: int) -> float:
        at = min(max(bisect_left(self.rows, rows), 1), len(self.rows) - 1)
        (x0, x1), (y0, y1) = self.rows[at - 1 : at + 1], self.forward[at - 1 : at + 1]
        return y0 + (y1 - y0) * (max(rows, 1) - x0) / (x1 - x0)

    def observe(self, rows: int, seconds: float, steps: int = 1) -> None:
        """So many passes of so many rows, one job, took so long, the engine's part included."""
        base, pace = self.base(rows), seconds / steps
        if 0 < pace < base:
            self._lower(rows, pace)
            base = pace
        (self.several if steps > 1 else self.single).observe(rows, pace - base, base)

    def knows(self, rows: int, steps: int) -> bool:
        """Whether it has seen as many passes of about that size, among as many, as it takes the mean of."""
        return (self.several if steps > 1 else self.single).seen(rows) >= MEMORY

    def _lower(self, rows: int, seconds: float) -> None:
        """A whole pass took less than its forward alone was said to."""
        at = bisect_left(self.rows, rows)
        if at == len(self.rows) or self.rows[at] != rows:
            self.rows.insert(at, rows)
            self.forward.insert(at, seconds)
        self.forward[at] = seconds
        self._smooth()

    def __getitem__(self, rows: int) -> float:
        """v(rows) of a pass that somebody looks at."""
        return self.base(rows) + self.single(rows)

    def plain(self, rows: int) -> float:
        """v(rows) of a pass among several, of rows for which nobody drafts."""
        return self.base(rows) + self.several(rows)

    def table(self, most: int) -> Sequence[float]:
        """[v(0), v(1), ... v(most)]."""
        return [self[rows] for rows in range(most + 1)]
