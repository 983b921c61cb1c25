"""What selectors make of the pool at every budget: as many samples, one after another, as the cap pays.

A draw is an order of a problem's samples; draw 0 is the order of their branches, what a live run would see,
and the others are random. The value is the mean over draws: unbiased, and with less noise than one draw.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from benchmarks.strategies import lines
from benchmarks.strategies.live import Group
from benchmarks.strategies.parts import SIDE_BY_SIDE, At
from benchmarks.strategies.settings import Cell, Unit
from outthink.bench.replay.estimate import Replay, credit, prepare
from outthink.bench.replay.reading import Recorded, read
from outthink.core.rng import digest
from outthink.core.samples import Choice
from outthink.spec import parse

DRAWS = 8


class Spent(NamedTuple):
    """What one draw came to."""

    right: float
    written: int
    drawn: int  # samples that the rule was given
    used: int  # of these, before it stopped
    choice: Choice | None  # None where not one sample fits


class Pooled(NamedTuple):
    """The recorded samples of one family, problems in the order of the cells."""

    problems: tuple[Recorded, ...]
    cpu_per_token: float
    path: str


def load(path: Path, todo: dict[str, list[Cell]]) -> dict[str, Pooled]:
    """The pool by family; KeyError for a cell that was not recorded."""
    recorded = {own.id: own for own in read(path)}
    found = {Cell(line["family"], line["seed"], line["index"]): line for line in lines.read(path)}
    return {
        family: _pooled([found[cell] for cell in cells], recorded, str(path))
        for family, cells in todo.items()
    }


def _pooled(order: list[lines.Line], recorded: dict[str, Recorded], path: str) -> Pooled:
    problems = tuple(recorded[line["id"]] for line in order)
    tokens = sum(sample.tokens for own in problems for sample in own.samples)
    return Pooled(problems, sum(line["cpu_seconds"] for line in order) / tokens, path)


def orders(own: Recorded, draws: int) -> Iterator[list[int]]:
    """The draws of a problem: the same for every selector and budget."""
    n = len(own.samples)
    yield list(range(n))
    for draw in range(1, draws):
        yield random.Random(digest("draw", own.id, draw)).sample(range(n), n)


def spend(replay: Replay, own: Recorded, order: Sequence[int], cap: int, most: int | None = None) -> Spent:
    """The selector on as many samples in this order as the cap pays for, at most `most`.

    What a rule that kills early saves is spent on more samples.
    """
    samples = [own.samples[i] for i in order[:most]]
    total, fits = 0, 0
    for sample in samples:
        if total + sample.tokens > cap:
            break
        total, fits = total + sample.tokens, fits + 1
    if not fits:  # the cap cuts the first; if only its end token is missing, all was said
        return Spent(float(own.right[order[0]] and samples[0].tokens == cap + 1), cap, 0, 0, None)
    best = _spent(replay, own, order, fits)
    while best.choice is not None and best.choice.written is not None and fits < len(samples):
        further = _spent(replay, own, order, fits + 1)
        if further.written > cap:
            break
        best, fits = further, fits + 1
    return best


def _spent(replay: Replay, own: Recorded, order: Sequence[int], k: int) -> Spent:
    samples = [own.samples[i] for i in order[:k]]
    choice = replay.selector.select(samples)
    used = k if choice.used is None else choice.used
    written = sum(s.tokens for s in samples[:used]) if choice.written is None else choice.written
    return Spent(credit(choice, [own.right[i] for i in order[:k]]), written, k, used, choice)


def run(pooled: Pooled, group: Group, unit: Unit, ready: dict[str, Replay], draws: int = DRAWS) -> lines.Line:
    """One group, as `live.run` would tell it. `ready` keeps what was prepared, by configuration."""
    entry, cap = group.entry, unit.cap(group.multiple)
    config = entry.config(At(group.multiple, unit.room(group.multiple), cap, unit.step, entry.verifier))
    if config not in ready:
        ready[config] = prepare(config, parse(config, "strategy"), pooled.problems, pooled.path)
    replay = ready[config]
    most = unit.room(group.multiple) if entry.strategy.endswith(SIDE_BY_SIDE) else None
    draws = draws if most is None else 1
    found = [
        [spend(replay, own, order, cap, most) for order in orders(own, draws)] for own in replay.problems
    ]
    written = [fmean(spent.written for spent in row) for row in found]
    calls = [fmean(spent.used for spent in row) if entry.verifier else 0.0 for row in found]
    head: lines.Line = {"family": group.family, "strategy": entry.strategy, "verifier": entry.verifier}
    head |= {"multiple": group.multiple, "cap": cap, "config": config, "draws": draws}
    return head | {
        "right": [round(fmean(spent.right for spent in row), 4) for row in found],
        "written": [round(w, 1) for w in written],
        "verified": [round(c, 2) for c in calls],
        "cpu_seconds": round(pooled.cpu_per_token * fmean(written), 4),
    }
