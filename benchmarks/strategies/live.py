"""Run strategies on the engine, a group (family, strategy, verifier, budget) at a time; write each down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import outthink as ot
from benchmarks.strategies import lines
from benchmarks.strategies.parts import CLAIMED, ORACLES, At, Entry
from benchmarks.strategies.settings import Cell, Unit, sampling
from outthink.bench import tasks
from outthink.engine.request import Request
from outthink.spec import parse

if TYPE_CHECKING:
    from outthink.engine.engine import Done, Engine

ROWS = 320  # texts under way at one time, over all problems of a group


class Group(NamedTuple):
    """One strategy at one budget on all cells of one family."""

    family: str
    entry: Entry
    multiple: int

    def key(self) -> tuple[str, str, str, int]:
        return self.family, self.entry.strategy, self.entry.verifier, self.multiple


def groups(entries: Sequence[Entry], families: Sequence[str], multiples: Iterable[int]) -> list[Group]:
    """What is to be run, what matters most first, so that whatever ends the run leaves whole columns."""
    found = [
        Group(family, entry, multiple)
        for multiple in sorted(multiples)
        for entry in entries
        for family in families
    ]
    return sorted(found, key=_order)


def _order(group: Group) -> int:
    """First what claims are about and what needs no verifier, then the others with one verifier, then the
    largest budgets, then the rest."""
    name, verifier, multiple = group.entry.strategy, group.entry.verifier, group.multiple
    is_claimed, is_middle = name in CLAIMED, verifier == ORACLES[0]
    if multiple in (4, 8, 16) and (is_claimed or not verifier):
        return 1 if multiple == 8 else 0
    if is_middle and multiple in (4, 16):
        return 2
    if is_claimed and multiple >= 32 and (is_middle or not verifier):
        return 3 if multiple == 64 else 4
    return 5 if multiple in (2, 4, 8, 16) else 6


def key_of(line: lines.Line) -> tuple[str, str, str, int]:
    return line["family"], line["strategy"], line["verifier"], line["multiple"]


def sweep(
    engine: Engine,
    path: Path,
    todo: Iterable[Group],
    units: dict[str, Unit],
    cells: Callable[[str], list[Cell]],
    until: float = float("inf"),
    say: Callable[[str], None] = print,
) -> None:
    """Run every group that no file beside `path` has, until the clock says `until`."""
    have = {key_of(line) for line in lines.read_all(path.parent, "live*.jsonl")}
    for group in todo:
        if group.key() in have:
            continue
        if time.time() >= until:
            say("out of time")
            return
        began = time.perf_counter()
        line = run(engine, group, units[group.family], cells(group.family))
        lines.append(path, line)
        told = f"{fmean(line['right']):.2f} right, {fmean(line['written']):.0f} of {line['cap']}"
        say(f"{group.key()}: {told}, {time.perf_counter() - began:.1f} s {line['errors'] or ''}")


def run(engine: Engine, group: Group, unit: Unit, cells: Sequence[Cell]) -> lines.Line:
    """One group: every problem under its cap, all on one engine."""
    entry, cap = group.entry, unit.cap(group.multiple)
    config = entry.config(At(group.multiple, unit.room(group.multiple), cap, unit.step, entry.verifier))
    strategy = parse(config, "strategy")
    began = time.process_time()
    budget = ot.Budget(written=cap)
    requests = [
        Request(strategy, c.problem(), budget, c.key(), sampling(), tag=c, config=config) for c in cells
    ]
    concurrency = max(1, min(len(requests), ROWS // group.multiple))
    found = {done.request.tag: _told(done) for done in engine.map(requests, concurrency=concurrency)}
    seconds = time.process_time() - began
    columns: lines.Line = {
        name: [found[c][name] for c in cells] for name in ("right", "written", "verified", "positions")
    }
    head: lines.Line = {"family": group.family, "strategy": entry.strategy, "verifier": entry.verifier}
    head |= {"multiple": group.multiple, "cap": cap, "config": config}
    cut = sum(found[c]["cut"] for c in cells)
    errors = sorted({found[c]["error"] for c in cells} - {""})
    return head | columns | {"cut": cut, "cpu_seconds": round(seconds / len(cells), 4), "errors": errors}


def _told(done: Done) -> dict[str, Any]:
    """What one answer says. An error is a wrong answer with its words."""
    if done.answer is None or done.answer.receipt is None:
        return {"right": 0, "written": 0, "verified": 0, "positions": 0, "cut": 0, "error": str(done.error)}
    cell: Cell = done.request.tag
    cost, receipt = done.answer.receipt.logical, done.answer.receipt
    right = tasks.load(cell.family).check(cell.problem(), done.answer.final)
    return {
        "right": int(right),
        "written": cost.written,
        "verified": cost.verified,
        "positions": cost.positions,
        "cut": int(receipt.finish != "done"),
        "error": "",
    }
