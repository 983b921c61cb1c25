"""Is `auto` ever slower than plain? Families, strategies, batch sizes and temperatures, cell by cell."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import outthink as ot
from benchmarks.contest import Score, contest
from benchmarks.report import Section, Target
from benchmarks.speculation.model import Model
from benchmarks.speculation.sizes import Sizes
from benchmarks.speculation.streams import MOST
from benchmarks.speculation.totals import Faster
from outthink import spec
from outthink.bench import tasks
from outthink.engine.engine import Engine
from outthink.engine.request import Request

FAMILIES = ("steps", "countdown", "paths", "procedures")
STRATEGIES = {
    "sample": "once()",
    "vote(n=16)": "vote(n=16)",
    "best_of_n": "best_of_n(n=8, verifier=steps())",
    "beam": "beam(width=4, expand=4, verifier=steps())",
    "particles": "particles(n=8, verifier=steps())",
}
SLOWER, CLOSE = 0.97, 0.985
ALIKE = 3  # engines of each kind
INTRODUCTION = f"""auto over plain, tokens per second, total over total; cold, natural ends, *batch*
requests at once. `sample` is `once()` at the temperature stated (`sample` has one of its own), `best_of_n`
has n=8, `beam` width 4 and 4 children, `particles` n=8, all with the step checker. The same texts in every
round, checked. {ALIKE} engines of each kind take turns in an order that changes, and a round counts with the
least time of each kind: whatever else runs on the machine only ever makes it longer. There are {ALIKE} more
of plain: *noise* is the ratio of these over plain, where 1 is the truth, and how far from 1 it gets says what
a single cell is worth. *by processor time*: plain's processor seconds over auto's for the same texts, taken
alike. Cells below {CLOSE} are measured again, up to three times, and all rounds count. After each ratio its
standard error (delete-one jackknife over rounds)."""


@dataclass(frozen=True)
class Cell:
    """What is asked, and how many requests at once."""

    family: str
    strategy: str
    batch: int
    temperature: float


class Asked:
    """An engine that is given a batch of requests at once; `tokens` are those written."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine, self.name = engine, name
        self.texts: list[list[str]] = []

    def write(self, work: Sequence[Request]) -> int:
        requests = [replace(request, tag=i) for i, request in enumerate(work)]
        texts, written = [""] * len(requests), 0
        for done in self.engine.map(requests, concurrency=len(requests)):
            if done.error is not None:
                raise done.error
            assert done.answer is not None and done.answer.receipt is not None
            texts[done.request.tag] = done.answer.text
            written += done.answer.receipt.actual.written
        self.texts.append(texts)
        return written


@dataclass
class Found:
    """The rounds of a cell."""

    auto: Score = field(default_factory=Score)
    plain: Score = field(default_factory=Score)
    again: Score = field(default_factory=Score)

    @property
    def ratio(self) -> Faster:
        return Faster.of(self.auto, self.plain)

    @property
    def effort(self) -> float:
        """By processor seconds in place of wall time."""
        return sum(self.plain.busy) / sum(self.auto.busy)

    @property
    def noise(self) -> Faster:
        """Plain over plain."""
        return Faster.of(self.again, self.plain)


@dataclass
class Contest:
    """Engines on a model, used for all cells: some plain, as many auto, as many plain again."""

    model: Model
    indices: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kinds = {kind: [f"{kind} {i}" for i in range(ALIKE)] for kind in ("plain", "auto", "again")}
        self.rivals = [
            Asked(self.model.engine("auto" if kind == "auto" else "none"), name)
            for kind, names in self.kinds.items()
            for name in names
        ]
        gc.freeze()  # what is there for good is not looked through before every turn

    def measure(self, cell: Cell, found: Found, rounds: int, seconds: float) -> None:
        """Add rounds to what was found. AssertionError where a text differs."""
        for rival in self.rivals:
            rival.texts.clear()
        scores = contest(self.rivals, rounds, self._work(cell), seconds, is_tidy=True)
        assert all(rival.texts == self.rivals[0].texts for rival in self.rivals), f"texts differ in {cell}"
        for kind, names in self.kinds.items():
            getattr(found, kind).add(Score.least([scores[name] for name in names]))

    def _work(self, cell: Cell) -> Callable[[int], list[Request]]:
        task, strategy = tasks.load(cell.family), spec.parse(STRATEGIES[cell.strategy], "strategy")
        sampling = ot.Sampling(temperature=cell.temperature, max_tokens=MOST)

        def work(turn: int) -> list[Request]:
            first = self.indices.get(cell.family, 0)
            self.indices[cell.family] = first + cell.batch
            return [
                Request(strategy, task.problem("test", first + i), seed=turn, sampling=sampling)
                for i in range(cell.batch)
            ]

        return work


def cells(
    strategies: Sequence[str], batches: Sequence[int], families: Sequence[str] = FAMILIES
) -> list[Cell]:
    """All of them."""
    return [
        Cell(family, strategy, batch, temperature)
        for batch in batches
        for strategy in strategies
        for family in families
        for temperature in (0.0, 1.0)
    ]


def measure(model: Model, chosen: Sequence[Cell], sizes: Sizes) -> Section:
    """A row a cell, and one judgement of all."""
    section = Section(
        f"auto beside plain, {model.title}",
        [
            "family",
            "strategy",
            "batch",
            "temperature",
            "plain, tokens/s",
            "auto over plain",
            "±",
            "by processor time",
            "noise",
            "±",
            "rounds",
        ],
        before=[INTRODUCTION],
    )
    against = Contest(model)
    found = {cell: Found() for cell in chosen}
    for cell, one in found.items():
        seconds = sizes.cell if cell.batch == 1 else sizes.crowd
        against.measure(cell, one, sizes.rounds, seconds)
        for _ in range(sizes.again):
            if one.ratio.total < CLOSE:
                against.measure(cell, one, sizes.rounds, seconds)
        said = f"{one.ratio} ± {one.ratio.error:.3f}, noise {one.noise.total:.2f} ± {one.noise.error:.3f}"
        print(f"         {cell}: {said}", file=sys.stderr, flush=True)
        section.rows.append(_row(cell, one))
    section.targets += _targets(model, list(found.values()))
    section.after.append(_summary(list(found.values())))
    return section


def _row(cell: Cell, one: Found) -> list[str]:
    asked = [cell.family, cell.strategy, str(cell.batch), f"{cell.temperature:g}"]
    figures = [f"{one.plain.rate:.0f}", *_said(one.ratio), f"{one.effort:.3f}", *_said(one.noise)]
    return [*asked, *figures, str(one.ratio.rounds)]


def _said(ratio: Faster) -> list[str]:
    return [f"{ratio.total:.3f}", f"{ratio.error:.3f}"]


def _targets(model: Model, found: Sequence[Found]) -> list[Target]:
    """The worst cell is judged, and the median beside it, which noise does not move."""
    worst = min(one.ratio.total for one in found)
    noises = [one.noise for one in found]
    slow, noisy = _below([one.ratio for one in found]), _below(noises)
    what = f"{model.title}: auto over plain, worst of {len(found)} cells"
    note = f"{slow}; of plain over itself {noisy}, the worst {min(n.total for n in noises):.2f}"
    middle = median(one.ratio.total for one in found)
    return [
        Target(what, worst, SLOWER, note=note),
        Target(f"{model.title}: auto over plain, median of {len(found)} cells", middle, SLOWER),
    ]


def _below(ratios: Sequence[Faster]) -> str:
    """How many are slower than may be, and how many of them surely."""
    slow = [ratio for ratio in ratios if ratio.total < SLOWER]
    sure = sum(ratio.total + 2 * ratio.error < SLOWER for ratio in slow)
    return f"{len(slow)} of {len(ratios)} cells below, {sure} by more than two standard errors"


def _summary(found: Sequence[Found]) -> str:
    ratios = [one.ratio.total for one in found]

    def said(values: Sequence[float]) -> str:
        below = sum(value < SLOWER for value in values)
        middle = f"median {median(values):.2f}, most {max(values):.2f}"
        return f"least {min(values):.2f}, {middle}, {below} below {SLOWER}"

    efforts = [one.effort for one in found]
    lines = [("auto over plain", ratios), ("auto over plain by processor time", efforts)]
    lines.append(("plain over plain", [one.noise.total for one in found]))
    return "\n".join(f"- {what}: {said(values)}." for what, values in lines)
