"""Text as it is written: a line for each branch, redrawn from inside the engine's loop, never by a thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from outthink.cli.output import safe
from outthink.engine.trace import Trace

if TYPE_CHECKING:
    from outthink.core.branch import Branch

EVERY = 0.125  # seconds between two pictures
SIGNS = {"writing": ("•", "cyan"), "done": ("✓", "green"), "killed": ("✗", "red"), "dropped": ("−", "dim")}


@dataclass(slots=True, eq=False)
class Lane:
    """One branch on the screen; once it is closed its text is kept here."""

    branch: Branch
    tokens: int = 0
    state: str = "writing"
    kept: str = ""

    def text(self) -> str:
        return safe(self.branch.text() if self.state == "writing" else self.kept)


class LiveText(Trace):
    """Draws the branches of a run while it is entered. Where the console is no terminal it draws nothing."""

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self.title = title
        self.lanes: dict[Branch, Lane] = {}
        self.written = 0
        self.began = self.drawn = time.perf_counter()
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> LiveText:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        """A branch that writes for the first time gets a line."""
        lane = self.lanes.get(branch)
        if lane is None:
            lane = self.lanes[branch] = Lane(branch)
        lane.tokens += len(tokens)
        self.written += len(tokens)
        if tokens[-1] in branch.place.eos:
            lane.kept, lane.state = branch.text(), "done"
        self._redraw()

    def closed(self, branch: Branch, why: str) -> None:
        """Keep its text: the branch will have none."""
        lane = self.lanes.get(branch)
        if lane is not None:
            lane.kept, lane.state = branch.text(), why

    def warned(self, message: str) -> None:
        told = self.console if self.live else Console(stderr=True)
        told.print(Text(message, "yellow"))

    def _redraw(self) -> None:
        now = time.perf_counter()
        if self.live and now - self.drawn >= EVERY:
            self.drawn = now
            self.live.update(self._picture(now), refresh=True)

    def _picture(self, now: float) -> RenderableType:
        room = max(4, self.console.height - 4)
        if len(self.lanes) == 1:
            [lane] = self.lanes.values()
            return Group(*_last_lines(lane.text(), room), self._status(now))
        shown = sorted(self.lanes.values(), key=_urgency)[:room]
        shown.sort(key=lambda lane: lane.branch.path)
        return Group(*(self._line(lane) for lane in shown), self._status(now))

    def _line(self, lane: Lane) -> Text:
        """One branch: its state, path, length, and the end of its text."""
        sign, colour = SIGNS.get(lane.state, SIGNS["done"])
        path = ".".join(map(str, lane.branch.path)) or "root"
        head = f"{sign} {path:<6} {lane.tokens:>5}  "
        text = " | ".join(lane.text().strip().splitlines())
        room = max(10, self.console.width - len(head) - 1)
        tail = text if len(text) <= room else "…" + text[1 - room :]
        return Text.assemble(
            (head, colour), (tail, "" if lane.state == "writing" else "dim"), no_wrap=True, overflow="crop"
        )

    def _status(self, now: float) -> Text:
        ended = sum(lane.state != "writing" for lane in self.lanes.values())
        branches = f"{len(self.lanes)} branches, {ended} ended, " if len(self.lanes) > 1 else ""
        speed = self.written / max(now - self.began, 1e-9)
        return Text(f"{self.title}: {branches}{self.written:,} tokens, {speed:,.0f} tokens/s", "dim")


def _urgency(lane: Lane) -> tuple[bool, tuple[int, ...]]:
    """Those that write come first where there is no room for all."""
    return lane.state != "writing", lane.branch.path


def _last_lines(text: str, room: int) -> list[Text]:
    return [Text(line) for line in text.splitlines()[-room:]]
