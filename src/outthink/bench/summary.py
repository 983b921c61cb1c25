"""What a run says: accuracy with intervals, mean costs, differences on the same problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from outthink.bench.results import Record
from outthink.stats import paired_bootstrap, wilson


@dataclass(frozen=True)
class Row:
    """One strategy on one task; costs are means per problem, what is in brackets is a 95 % interval."""

    task: str
    strategy: str
    n: int
    accuracy: float
    low: float
    high: float
    written: float
    positions: float
    passes: float
    seconds: float
    flops: float
    errors: int  # problems that could not be asked (too long ...); they count as wrong

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """How much more often a strategy is right than the first one, on the same problems; a 95 % interval."""

    task: str
    strategy: str
    baseline: str
    difference: float
    low: float
    high: float


Groups = dict[tuple[str, str], list[Record]]


def grouped(records: Sequence[Record]) -> Groups:
    """The records of each (task, strategy), in the order of first appearance."""
    groups: Groups = {}
    for record in records:
        groups.setdefault((record["task"], record["strategy"]), []).append(record)
    return groups


def summarize(records: Sequence[Record]) -> list[Row]:
    """A row for each (task, strategy)."""
    return [_row(task, strategy, group) for (task, strategy), group in grouped(records).items()]


def _row(task: str, strategy: str, group: list[Record]) -> Row:
    right, n = sum(record["correct"] for record in group), len(group)
    interval = wilson(right, n)

    def mean(book: str, name: str) -> float:
        return sum(record["receipt"][book][name] for record in group) / n

    return Row(
        task=task,
        strategy=strategy,
        n=n,
        accuracy=right / n,
        low=interval.low,
        high=interval.high,
        written=mean("logical", "written"),
        positions=mean("logical", "positions"),
        passes=mean("actual", "passes"),
        seconds=mean("actual", "seconds"),
        flops=mean("logical", "flops"),
        errors=sum(record["error"] is not None for record in group),
    )


def differences(records: Sequence[Record]) -> list[Difference]:
    """Every other strategy against the first, task by task."""
    return list(_differences(grouped(records)))


def _differences(groups: Groups) -> Iterator[Difference]:
    first: dict[str, str] = {}
    for (task, strategy), group in groups.items():
        baseline = first.setdefault(task, strategy)
        if strategy == baseline:
            continue
        before = {record["index"]: float(record["correct"]) for record in groups[task, baseline]}
        pairs = [(before[r["index"]], float(r["correct"])) for r in group if r["index"] in before]
        if pairs:
            found = paired_bootstrap([own for _, own in pairs], [base for base, _ in pairs])
            yield Difference(task, strategy, baseline, *found)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def span(low: float, high: float, form: str = ".1f") -> str:
    """An interval of shares, in percent."""
    return f"{100 * low:{form}} to {100 * high:{form}}"


def amount(value: float) -> str:
    """A number in at most four digits: 12.3, 812, 4.1k, 3.2G."""
    for power, sign in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10 ** (power + (power == 3)):
            return f"{value / 10**power:.3g}{sign}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


Cell = tuple[str, Callable[[Row], str]]
COLUMNS: tuple[Cell, ...] = (
    ("accuracy", lambda row: percent(row.accuracy)),
    ("95 % interval", lambda row: span(row.low, row.high)),
    ("written", lambda row: amount(row.written)),
    ("positions", lambda row: amount(row.positions)),
    ("passes", lambda row: amount(row.passes)),
    ("FLOPs", lambda row: amount(row.flops)),
    ("seconds", lambda row: f"{row.seconds:.2f}"),
)  # of the report's table, after the strategy
