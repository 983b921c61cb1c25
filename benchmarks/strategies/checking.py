"""A replay must say what a live run says: the same selectors, run live on a few cells, sample for sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.strategies.lines import Line
from benchmarks.strategies.live import Group
from benchmarks.strategies.parts import At
from benchmarks.strategies.replaying import Pooled, Spent, orders, spend
from benchmarks.strategies.settings import Cell, Unit, sampling
from outthink.bench.replay.estimate import prepare
from outthink.engine.request import Request
from outthink.spec import parse
from outthink.text import equivalent

if TYPE_CHECKING:
    from outthink.engine.engine import Engine


class Compared(NamedTuple):
    """One cell, both ways."""

    config: str
    cell: Cell
    replayed: tuple[str | None, int]  # the final answer, and tokens written
    live: tuple[str | None, int]

    @property
    def is_same(self) -> bool:
        said, heard = self.replayed[0], self.live[0]
        return self.replayed[1] == self.live[1] and (said == heard or equivalent(said, heard))


def compare(
    engine: Engine, pooled: Pooled, group: Group, unit: Unit, cells: Sequence[Cell]
) -> list[Compared]:
    """Draw 0 of each cell against a live run of as many samples, without a cap."""
    entry, cap = group.entry, unit.cap(group.multiple)
    at = At(group.multiple, unit.room(group.multiple), cap, unit.step, entry.verifier)
    config = entry.config(at)
    ready = prepare(config, parse(config, "strategy"), pooled.problems, pooled.path)
    found = []
    for own, cell, raw in zip(ready.problems, cells, pooled.problems, strict=True):
        spent = spend(ready, own, next(orders(own, 1)), cap)
        if spent.choice is None or _is_cut(ready.selector, spent):
            continue
        strategy = parse(_with_samples(config, spent.drawn), "strategy")
        answer = engine.run(Request(strategy, cell.problem(), seed=cell.key(), sampling=sampling()))
        assert answer.receipt is not None
        said = (raw.samples[spent.choice.picks[0]].final, spent.written)
        found.append(Compared(config, cell, said, (answer.final, answer.receipt.logical.written)))
    return found


def summary(compared: Sequence[Line]) -> dict[str, Any]:
    """How many are the same, and those that are not, of written comparisons."""
    differ = [
        f"`{line['config']}` on {line['cell']}: {line['replayed']}, live {line['live']}"
        for line in compared
        if not line["same"]
    ]
    selectors = len({line["config"].split("(")[0] for line in compared})
    return {
        "same": len(compared) - len(differ),
        "of": len(compared),
        "selectors": selectors,
        "differ": differ,
    }


def _is_cut(selector: Any, spent: Spent) -> bool:
    """Whether rounds of several samples were cut by the cap within a round, which has no live counterpart."""
    return hasattr(selector, "rounds") and spent.used == spent.drawn


def _with_samples(config: str, n: int) -> str:
    """The configuration of a live run that draws n samples at most."""
    name, inside = config.removesuffix(")").split("(", 1)
    if name == "semantic_entropy":
        return config  # it ended by itself
    most = min([n, *(int(part[2:]) for part in inside.split(", ") if part.startswith("n="))])
    size = f"{'k' if name == 'short' else 'n'}={most}"
    kept = [part for part in inside.split(", ") if part and not part.startswith(("n=", "k="))]
    return f"{name}({', '.join([*kept, size])})"
