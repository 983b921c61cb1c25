"""`bench`: compare strategies on tasks."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outthink import spec
from outthink.bench.plan import Plan
from outthink.cli.options import Benching, strategies_of, takes, tasks_of
from outthink.cli.output import console, emit, headlines, results_table
from outthink.core.errors import BadInput

if TYPE_CHECKING:
    from outthink.bench.conclude import Conclusion
    from outthink.engine.engine import Engine


@takes(Benching)
def bench(options: Benching) -> None:
    """Compare strategies on tasks: accuracy with intervals, and what it cost.

    \b
      outthink bench --task steps,paths --n 200 --out runs/first
      outthink bench --strategies "greedy; vote(n=8); best_of_n(n=8, verifier=steps())"
      outthink bench ... --resume      goes on where it was interrupted
    """
    found = run_bench(options, options.load)
    if options.json:
        emit(as_json(found, options))
    else:
        show(found)


def run_bench(options: Benching, load: Callable[[], Engine]) -> Conclusion:
    """Run a bench to its report. What the options get wrong is said before a model is loaded."""
    from outthink.bench.conclude import conclude
    from outthink.bench.results import Results
    from outthink.bench.runner import run
    from outthink.cli.progress import Progress

    if options.concurrency < 1:
        raise BadInput(f"concurrency={options.concurrency}: give at least 1")
    if options.resume and options.overwrite:
        raise BadInput("--resume goes on with a run, --overwrite begins it anew: give one of them")
    if not options.out:
        raise BadInput("--out is empty: name the folder for results, plot and report")
    plan, folder, told = plan_of(options), Path(options.out), console(as_json=True)
    with Results(folder, plan, options.resume, options.overwrite) as results:
        if results.is_complete:
            return conclude(plan, results.finish(), folder)
        engine = load()
        with Progress(told, plan, results.records, options.concurrency) as progress:
            engine.trace = progress
            try:
                records = run(engine, results, options.concurrency, progress.heard, options.samples)
            except (KeyboardInterrupt, OSError):  # OSError: the disk is full, most likely
                progress.close()
                told.print(f"stopped; {len(results.records)} answers are kept. Go on with:", style="yellow")
                told.print(resuming(sys.argv[1:]), soft_wrap=True, markup=False)
                raise
        told.print(progress.total())
    return conclude(plan, records, folder)


def as_json(found: Conclusion, options: Benching) -> dict[str, Any]:
    """What `--json` prints of a run."""
    results = Path(options.out) / "results.jsonl"
    files = {"results": results, "summary": found.summary, "frontier": found.plot, "report": found.report}
    return {"summary": [row.as_dict() for row in found.rows], "files": files}


def show(found: Conclusion) -> None:
    """The table of a run, and where its plot and report are."""
    out = console()
    out.print(results_table(found.rows, found.compared, out.width))
    out.print(
        "[dim]means per problem; written: tokens of all samples; positions: tokens evaluated, "
        "shared ones once;\n"
        "vs first: points of accuracy, * where zero is outside the 95 % interval[/]"
    )
    for sentence in headlines(found.rows):
        out.print(sentence, markup=False)
    out.print(f"\nplot    {found.plot}\nreport  {found.report}", soft_wrap=True, markup=False)


def plan_of(options: Benching) -> Plan:
    """The plan that the options describe."""
    return Plan(
        tasks=tasks_of(options.task or ["steps"], options.level),
        strategies=strategies_of(options.strategies),
        n=options.n,
        seed=options.seed,
        model=options.model,
        dtype=options.dtype,
        deterministic=options.deterministic,
        budget=options.caps(),
        sampling=options.sampling(),
        parts=spec.own_parts(),
    )


def resuming(arguments: list[str]) -> str:
    """The command line that goes on with an interrupted one."""
    kept = [word for word in arguments if word not in ("--resume", "--overwrite")]
    return shlex.join(["outthink", *kept, "--resume"])
