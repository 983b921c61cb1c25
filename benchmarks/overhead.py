"""Where the time of a pass goes: the model, the draw of tokens, and everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.contest import Work
from benchmarks.ours import local, request
from benchmarks.prompts import Prompts
from benchmarks.report import Section, Target
from benchmarks.watching import Watched, watching
from outthink.engine.engine import Engine

TARGETS = {1: 0.20, 64: 0.10}
INTRODUCTION = """Medians in microseconds over all decode passes of that many rows (up to a tenth less where
branches are still equal) on several prompts, as on some branches part sooner; from the start of one
`model.forward` to the start of the next, measured by wrappers. Where several passes are one call, each is an
equal part of it, and the call tells what its draws took. *Outside* is everything that is not `model.forward`:
the draw of tokens and all of the engine (scheduling, tree, packing, books, coroutines). Making the plan of
attention is a part of `model.forward` here, and shown. *Whole run* is the share outside all forwards of whole
requests: the prompt and its encoding, vote and receipt included."""


@dataclass(frozen=True)
class Share:
    """Microseconds of a pass, from the start of one forward to the start of the next."""

    total: float
    forward: float
    plan: float  # inside the forward: the plan of attention
    draw: float

    @property
    def engine(self) -> float:
        return self.total - self.forward - self.draw

    @property
    def outside(self) -> float:
        """The part of a pass that is not `model.forward`."""
        return 1 - self.forward / self.total


def shares(seen: Watched, rows: int) -> Share:
    """Medians over all passes of so many rows, or a tenth less, that come before another such pass."""
    calls, sizes, steps = seen.forward, seen.forward.sizes, seen.forward.steps
    fits = [0.9 * rows <= size <= rows for size in sizes]
    chosen = [i for i in range(len(sizes) - 1) if fits[i] and fits[i + 1]]
    if not chosen:
        raise AssertionError(f"no pass of {rows} rows was seen")

    def micros(seconds: Callable[[int], float]) -> float:
        """The median over passes of what a call took, each of its passes an equal part."""
        return 1e6 * median([seconds(i) / steps[i] for i in chosen for _ in range(steps[i])])

    return Share(
        micros(lambda i: calls.begins[i + 1] - calls.begins[i]),
        micros(lambda i: calls.seconds[i]),
        micros(lambda i: seen.plan.seconds[i]) if seen.plan.seconds else 0.0,  # native: none is made
        micros(lambda i: seen.draw.seconds[i]),
    )


def measure(engines: dict[str, Engine], prompts: Prompts, rounds: int = 5, new: int = 128) -> Section:
    """One branch and 64, in every dtype."""
    section = Section(
        "Time outside the forward",
        ["dtype", "rows", "pass", "forward", "of it planning", "draw", "engine", "outside", "whole run"],
        before=[INTRODUCTION],
    )
    for dtype, engine in engines.items():
        for rows, bound in TARGETS.items():
            share, whole = _measured(engine, prompts, rows, rounds, new)
            micros = (share.total, share.forward, share.plan, share.draw, share.engine)
            section.rows.append([
                dtype, str(rows), *(f"{m:.0f}" for m in micros), f"{share.outside:.1%}", f"{whole:.1%}",
            ])  # fmt: skip
            what = f"time outside the forward, share of a pass of {rows} rows, {dtype}"
            section.targets.append(Target(what, share.outside, bound, at_least=False))
    return section


def _measured(engine: Engine, prompts: Prompts, rows: int, rounds: int, new: int) -> tuple[Share, float]:
    wall = 0.0
    with watching(local(engine.main)) as seen:
        for turn in range(rounds):
            todo = request(Work(prompts.long(200), rows, new, seed=turn))
            began = engine.clock()
            engine.run(todo)
            wall += engine.clock() - began
    return shares(seen, rows), 1 - sum(seen.forward.seconds) / wall
