"""`diagnose`: where drafts are accepted, how good they could be, and what that is worth here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Option

from outthink.cli.options import Running, new_file, one_strategy, one_task, takes
from outthink.cli.output import console, emit, table
from outthink.core.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from outthink.bench.diagnosis import Diagnosis
    from outthink.engine.request import Request


@dataclass(frozen=True)
class Diagnosing(Running):
    """The options of `diagnose`."""

    speculate: Annotated[str, Option(help="The drafter to look at.", metavar="hierarchy")] = "hierarchy"
    strategy: Annotated[str, Option(help="How to spend; see `outthink methods`.", metavar="vote(n=8)")] = (
        "vote(n=8)"
    )
    task: Annotated[str, Option(help="Where the questions come from; see `outthink tasks`.")] = "steps"
    level: Annotated[int | None, Option(help="How hard the task is.")] = None
    n: Annotated[int, Option("--n", "-n", help="Test problems, one after the other.")] = 4
    out: Annotated[str | None, Option(help="A PNG of it.", metavar="FILE")] = None


@takes(Diagnosing)
def diagnose(options: Diagnosing) -> None:
    """Run a few problems plain and drafted, and say why that is as much faster as it is.

    Acceptance by depth in the draft and by position in the text; what the best tree of as many nodes would
    have had accepted; what passes take by rows; what the speed-up formula predicts, and what was measured.

    \b
      outthink diagnose --speculate hierarchy --task procedures --strategy greedy
      outthink diagnose --speculate "draft_model(model='pocket-mini')" --out drafts.png
    """
    plot = None if options.out is None else new_file(options.out)
    found, out = _diagnosis(options), console(options.json)
    if plot is not None:
        from outthink.bench.diagnosis_plot import render

        plot.write_bytes(render(found))
    if options.json:
        named = {"model": options.model, "speculate": options.speculate, "strategy": options.strategy}
        emit({**named, "task": options.task, "n": options.n, "plot": options.out, **found.as_dict()})
    else:
        _show(out, found, options.out)


def _diagnosis(options: Diagnosing) -> Diagnosis:
    from rich.progress import Progress

    from outthink.bench.diagnosis import diagnose

    requests = _requests(options)
    engine = options.load()
    if engine.speculate is None:
        raise BadInput("diagnose looks at drafts: name a drafter, such as --speculate hierarchy")
    try:
        with Progress(console=console(True), transient=True) as bar:
            job = bar.add_task("diagnosing", total=3 * len(requests))
            return diagnose(engine, requests, lambda: bar.advance(job))
    finally:
        engine.close()


def _requests(options: Diagnosing) -> list[Request]:
    """What is run. What the options get wrong is said before a model is loaded."""
    from outthink.engine.request import Request

    if options.n < 1:
        raise BadInput(f"n={options.n}: give at least 1")
    if options.model.startswith(("http://", "https://")):
        raise BadInput("an endpoint drafts on its own side, if it does: diagnose a model that runs here")
    task, strategy = one_task(options.task, options.level), one_strategy(options.strategy)
    budget, sampling = options.caps(), options.sampling()
    return [
        Request(
            strategy.part, task.problem("test", i), budget, options.seed + i, sampling, config=strategy.name
        )
        for i in range(options.n)
    ]


def _show(out: Console, found: Diagnosis, plot: str | None) -> None:
    depths = table("depth", "reached", "accepted", "rate", left=())
    for depth in found.depths:
        depths.add_row(str(depth.depth), str(depth.reached), str(depth.accepted), f"{depth.rate:.0%}")
    bins = table("tokens", "drafts", "checked", "accepted", "rate", left=())
    for one in found.bins:
        counts = map(str, (one.steps, one.checked, one.accepted))
        bins.add_row(f"{one.low}-{one.high - 1}", *counts, f"{one.rate:.0%}")
    curve = table("rows", "forward ms", "v(rows) ms", left=())
    for rows, forward, v in found.curve:
        curve.add_row(str(rows), f"{1000 * forward:.2f}", f"{1000 * v:.2f}")
    for made in (depths, bins, curve):
        out.print(made)
        out.print()
    for line in _sentences(found):
        out.print(line, markup=False)
    if plot is not None:
        out.print(f"plot    {plot}", soft_wrap=True, markup=False)


def _sentences(found: Diagnosis) -> list[str]:
    trees, speed = found.trees, found.speed
    return [
        f"{trees.steps} drafts of {trees.nodes:.1f} checked nodes: {trees.accepted:.2f} accepted "
        f"({trees.expected:.2f} expected), best known tree {trees.best_known:.2f}, "
        f"hindsight {trees.hindsight:.2f}",
        f"{speed.tokens_per_pass:.2f} tokens a branch and pass, {speed.rows_per_pass:.1f} rows a pass, "
        f"{1000 * speed.drafting_seconds:.0f} ms of drafting",
        f"speed-up: {speed.predicted:.2f}x predicted, {speed.measured:.2f}x measured "
        f"({speed.plain_seconds:.2f} s plain, {speed.drafted_seconds:.2f} s drafted)",
        "same answers" if speed.identical else "answers differ: see outthink certify",
    ]
