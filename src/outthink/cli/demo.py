"""`demo`: what more tokens buy, in three minutes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from outthink.cli.bench import as_json, run_bench, show
from outthink.cli.options import Asking, Benching, Running, takes
from outthink.cli.output import answer_json, console, emit, show_answer
from outthink.cli.solve import request_of

if TYPE_CHECKING:
    from outthink.engine.engine import Engine

SOLVED = (("steps", 0), ("procedures", 0))  # shown as they are written
FAMILIES = ["steps", "countdown", "paths", "procedures"]  # compared
SHOWN = "vote(n=8)"
COMPARED = "greedy; vote(n=8); best_of_n(n=8, verifier=steps())"


@dataclass(frozen=True)
class Showing(Running):
    """The options of `demo`."""

    n: Annotated[int, Option("--n", "-n", help="Test problems of each task.")] = 24
    out: Annotated[str, Option(help="The folder for results, plot and report.")] = "runs/demo"


@takes(Showing)
def demo(options: Showing) -> None:
    """Solve a few problems on the embedded model, then compare three strategies on four tasks."""
    from rich.rule import Rule
    from rich.text import Text

    told = console(options.json)
    given = {f.name: getattr(options, f.name) for f in fields(Running)}
    plan = Benching(**given, task=FAMILIES, strategies=COMPARED, n=options.n, out=options.out, overwrite=True)
    engine = options.load()
    answers = [
        _solve(Asking(**given, task=task, index=index, strategy=SHOWN), engine) for task, index in SOLVED
    ]
    told.print(Rule(Text(f"{options.n} problems of each task, three strategies", "bold"), style="dim"))
    found = run_bench(plan, lambda: engine)
    engine.close()
    if options.json:
        emit({"answers": answers} | as_json(found, plan))
    else:
        show(found)


def _solve(options: Asking, engine: Engine) -> dict[str, Any]:
    """One problem, live."""
    from rich.rule import Rule
    from rich.text import Text

    from outthink.cli.live import LiveText

    out = console(options.json)
    request = request_of(options)
    out.print(Rule(Text.assemble((f"{options.task}, ", "bold"), (SHOWN, "bold")), style="dim"))
    out.print(Text(options.problem().prompt + "\n", "bold"))
    with LiveText(out, SHOWN) as live:
        engine.trace = live
        answer = engine.run(request)
    show_answer(out, answer, options.problem())
    out.print()
    return answer_json(answer)
