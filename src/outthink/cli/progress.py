"""How far a bench run is: drawn from inside the engine's loop on a terminal, else a line now and then."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from outthink.bench.plan import Pair, Plan
from outthink.bench.results import Record, pair_of
from outthink.engine.trace import PassInfo, Trace

EVERY = 0.2  # seconds between two pictures on a terminal
SELDOM = 10.0  # seconds between two lines elsewhere


class Progress(Trace):
    """A line for each strategy on each task, and one with the speed and the time left."""

    def __init__(self, console: Console, plan: Plan, done: dict[Pair, Record], concurrency: int) -> None:
        self.console = console
        self.concurrency = concurrency
        self.n = plan.n
        self.tallies: dict[tuple[str, str], list[int]] = {}  # problems done, right answers
        for pair, _, _ in plan.pairs():
            self.tallies.setdefault((pair.task, pair.strategy), [0, 0])
        for record in done.values():
            self._count(record)
        self.before = len(done)
        self.tokens = 0
        self.began = self.drawn = time.perf_counter()
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the picture away."""
        if self.live:
            self.live.stop()

    def total(self) -> Text:
        """The run in a line, when it is over."""
        seconds = max(time.perf_counter() - self.began, 1e-9)
        done = sum(done for done, _ in self.tallies.values()) - self.before
        return Text(f"{done} answers in {clock(seconds)}, {self.tokens / seconds:,.0f} tokens/s", "dim")

    def passed(self, info: PassInfo) -> None:
        """Once a pass: the one place that is reached again and again while a run goes on."""
        self.tokens += info.drawn
        now = time.perf_counter()
        if now - self.drawn < (EVERY if self.live else SELDOM):
            return
        self.drawn = now
        if self.live:
            self.live.update(self._picture(now), refresh=True)
        else:
            self.console.print(self._status(now))

    def warned(self, message: str) -> None:
        self.console.print(Text(message, "yellow"))

    def heard(self, record: Record) -> None:
        """A problem is done."""
        self._count(record)
        if record["error"]:
            self.warned(f"{record['id']}: {record['error']}")

    def _count(self, record: Record) -> None:
        pair = pair_of(record)
        tally = self.tallies[pair.task, pair.strategy]
        tally[0] += 1
        tally[1] += bool(record["correct"])

    def _picture(self, now: float) -> RenderableType:
        lines = Table.grid(padding=(0, 2))
        for (task, strategy), (done, right) in self.tallies.items():
            share = f"{100 * right / done:.0f} % right" if done else ""
            bar = ProgressBar(total=self.n, completed=done, width=24)
            lines.add_row(
                Text(task.removesuffix("()")),
                Text(strategy.removesuffix("()")),
                bar,
                f"{done}/{self.n}",
                share,
            )
        return Group(lines, self._status(now))

    def _status(self, now: float) -> Text:
        """Done, speed, time left."""
        done, total = sum(done for done, _ in self.tallies.values()), self.n * len(self.tallies)
        seconds = max(now - self.began, 1e-9)
        flying = min(self.concurrency, total - done) / 2  # on average, what is in work is half done
        fresh = done - self.before
        left = clock(seconds / (fresh + flying) * (total - done - flying)) if fresh else "?"
        speed = f"{self.tokens / seconds:,.0f} tokens/s"
        return Text(f"{done}/{total} answers   {speed}   {clock(seconds)} so far, {left} left", "dim")


def clock(seconds: float) -> str:
    """Minutes and seconds, hours where there are any."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
