"""Is `auto` ever slower than plain, by a clock that nobody else can slow down?

pocket writes, and the clock says what its passes take by v(rows) as timed in this run, its own or that of the
padded model. All that `auto` decides, it decides by that clock: what is compared are its decisions. What
Python takes is not on it, but for a part of every pass.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import outthink as ot
from benchmarks.report import Section, Target
from benchmarks.speculation.model import SLOTS, Model
from benchmarks.speculation.passes import Passes
from benchmarks.speculation.strategies import SLOWER, STRATEGIES, Cell
from benchmarks.speculation.streams import MOST
from outthink import spec
from outthink.backends.load import load_backend, locate
from outthink.backends.local import LocalBackend
from outthink.bench import tasks
from outthink.core.jobs import PassJob, PassResult
from outthink.engine.engine import Engine
from outthink.engine.request import Request

AROUND = 3e-5  # seconds of the engine for each of several passes in one call
LOOKED_AT = 15e-5  # and for a pass that somebody looks at
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
PROBLEMS = {1: 6, 16: 32}  # of a cell, by batch
INTRODUCTION = f"""pocket's texts on a scripted clock: a pass of r rows takes v(r) as timed above, and
{1e6 * AROUND:.0f} microseconds where several follow one another, {1e6 * LOOKED_AT:.0f} where somebody looks
at it. What drafters take in Python is not on it: it shows what `auto` decides, free of what else the machine
does. `auto` learns its v(rows) from that clock as from any other. Total tokens over total seconds, cold;
{PROBLEMS[1]} problems a cell with batch 1, {PROBLEMS[16]} with batch 16; texts are compared."""


class Scripted(LocalBackend):
    """A model whose clock only its own passes move on."""

    now = 0.0

    def __init__(self, old: LocalBackend, v: Callable[[float], float]) -> None:
        super().__init__(old.model, old.tokenizer, old.about)
        self.kind, self.draw, self.moves_are_dear = old.kind, old.draw, old.moves_are_dear
        self.v = v

    @property
    def clock(self) -> Callable[[], float]:
        return lambda: self.now

    def step_times(self) -> dict[int, float]:
        return {rows: self.v(rows) for rows in SIZES}

    def _run(self, job: PassJob) -> PassResult:
        result = super()._run(job)
        steps = 1 + len(result.before)  # a job ends early where all texts do
        self.now += steps * (self.v(len(job.batch)) + (LOOKED_AT if job.steps == 1 else AROUND))
        return result


class Timed:
    """Plain decoding or `auto` on such a model."""

    def __init__(self, backend: Scripted, speculate: str) -> None:
        self.backend, self.engine = backend, Engine(backend, slots=SLOTS)
        self.engine.speculate = ot.drafter_of(speculate, self.engine)

    def write(self, requests: Sequence[Request]) -> tuple[int, float, list[str]]:
        """(tokens written, seconds, texts)."""
        began, written, texts = self.backend.now, 0, {}
        for done in self.engine.map(requests, concurrency=len(requests)):
            assert done.answer is not None and done.answer.receipt is not None, done.error
            written += done.answer.receipt.actual.written
            texts[done.request.tag] = done.answer.text
        return written, self.backend.now - began, [texts[tag] for tag in sorted(texts)]


def over_plain(old: LocalBackend, v: Callable[[float], float], cell: Cell) -> tuple[float, float]:
    """(plain's tokens a second, how much faster auto is) on a cell. AssertionError where a text differs."""
    strategy, task = spec.parse(STRATEGIES[cell.strategy], "strategy"), tasks.load(cell.family)
    sampling = ot.Sampling(temperature=cell.temperature, max_tokens=MOST)
    rates, texts = list[float](), list[list[str]]()
    for speculate in ("none", "auto"):
        timed, tokens, seconds, read = Timed(Scripted(old, v), speculate), 0, 0.0, list[str]()
        for first in range(0, PROBLEMS[cell.batch], cell.batch):
            problems = [task.problem("test", first + i) for i in range(cell.batch)]
            requests = [
                Request(strategy, p, seed=first, sampling=sampling, tag=i) for i, p in enumerate(problems)
            ]
            written, taken, said = timed.write(requests)
            tokens, seconds, read = tokens + written, seconds + taken, read + said
        rates.append(tokens / seconds)
        texts.append(read)
    assert texts[0] == texts[1], f"texts differ in {cell}"
    return rates[0], rates[1] / rates[0]


def measure(model: Model, curve: Passes, cells: Sequence[Cell]) -> Section:
    """A row a cell."""
    section = Section(
        f"auto on a scripted clock, {model.title}",
        ["family", "strategy", "batch", "temperature", "plain, tokens/s", "auto over plain"],
        before=[INTRODUCTION],
    )
    ratio = partial(over_plain, load_backend(str(locate("pocket")), threads=model.threads), curve.at)
    found = []
    for cell in cells:
        plain, faster = ratio(cell)
        found.append(faster)
        asked = [cell.family, cell.strategy, str(cell.batch), f"{cell.temperature:g}"]
        section.rows.append([*asked, f"{plain:.0f}", f"{faster:.2f}"])
        print(f"         scripted {cell}: {faster:.3f}", file=sys.stderr, flush=True)
    what = f"{model.title}: auto over plain on a scripted clock"
    section.targets = [
        Target(f"{what}, worst of {len(found)} cells", min(found), SLOWER),
        Target(f"{what}, median of {len(found)} cells", median(found), SLOWER),
    ]
    return section
