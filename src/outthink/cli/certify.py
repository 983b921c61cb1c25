"""`certify`: is speculation lossless with this model, drafter and arithmetic?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Exit, Option

from outthink.cli.options import Running, one_task, strategies_of, takes
from outthink.cli.output import console, emit, table
from outthink.core.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from outthink.bench.certify import Line

FIXED = ("temperature", "top_p", "top_k", "min_p", "stop", "budget")  # options that would change nothing


@dataclass(frozen=True)
class Certifying(Running):
    """The options of `certify`."""

    # `auto` drafts nothing where that does not pay, and then nothing would be certified
    speculate: Annotated[str, Option(help="The drafter to certify.", metavar="hierarchy")] = "hierarchy"
    task: Annotated[list[str] | None, Option(help="Repeatable. \\[default: steps]")] = None
    strategies: Annotated[str, Option(help="A list parted by ;")] = "once; vote(n=8)"
    n: Annotated[int, Option("--n", "-n", help="Test problems of each task.")] = 50
    level: Annotated[int | None, Option(help="How hard the tasks are.")] = None
    epsilon: Annotated[float, Option(help="The largest margin that rounding explains.")] = 1e-4


@takes(Certifying)
def certify(options: Certifying) -> None:
    """Write everything twice with the same seeds, plain and drafted, and compare token by token.

    At temperature 0, 0.8 and 1.0 with top-p, min-p, repetition penalty and logit bias. Where two texts
    part, the margin of the draw says whether rounding did it. Exit code 1 if any margin is above epsilon.

    \b
      outthink certify --model pocket --speculate "copy(n=8)" --task steps --n 200
      outthink certify --dtype float64 --json
    """
    lines, out = _lines(options), console(options.json)
    good = all(line.is_explained(options.epsilon) for line in lines)
    if options.json:
        emit({
            "model": options.model, "dtype": options.dtype, "deterministic": options.deterministic,
            "speculate": options.speculate,
            "accept": options.accept, "epsilon": options.epsilon, "certified": good,
            "texts": sum(line.texts for line in lines), "identical": sum(line.identical for line in lines),
            "accepted": sum(line.accepted for line in lines),
            "runs": [line.as_dict() for line in lines],
        })  # fmt: skip
    else:
        _show(out, lines, options.epsilon)
    if not good:
        raise Exit(1)


def _lines(options: Certifying) -> list[Line]:
    from rich.progress import Progress

    from outthink.bench.certify import SAMPLINGS, certify

    if options.n < 1:
        raise BadInput(f"n={options.n}: give at least 1")
    if not options.epsilon >= 0:
        raise BadInput(f"epsilon={options.epsilon}: give 0 or more")
    if given := [name for name in FIXED if getattr(options, name) is not None]:
        raise BadInput(f"certify writes in settings of its own: leave --{given[0].replace('_', '-')} out")
    tasks = [one_task(name, options.level) for name in options.task or ["steps"]]
    strategies = list(strategies_of(options.strategies).items())
    engine = options.load()
    if engine.speculate is None:
        raise BadInput("certify compares drafted text with plain: name a drafter, such as --speculate auto")
    lines: list[Line] = []
    with Progress(console=console(True), transient=True) as bar:
        total = 2 * options.n * len(tasks) * len(strategies) * len(SAMPLINGS)
        job = bar.add_task("certifying", total=total)
        for task in tasks:
            lines += certify(
                engine, engine.speculate, task, strategies, options.n, options.seed,
                max_tokens=options.max_tokens, listen=lambda: bar.advance(job),
            )  # fmt: skip
    engine.close()
    return lines


def _show(out: Console, lines: list[Line], epsilon: float) -> None:
    titles = ("task", "strategy", "sampling", "texts", "identical", "margin", "per pass", "speed")
    made = table(*titles, left=())
    for line in lines:
        worst = max((p.margin for p in line.partings), default=None)
        style = "" if line.is_explained(epsilon) else "red"
        warped = " warped" if line.sampling.top_p < 1 else ""
        made.add_row(
            line.task, line.strategy, f"{line.sampling.temperature:g}{warped}", str(line.texts),
            str(line.identical), "" if worst is None else f"{worst:.2g}", f"{line.per_step:.2f}",
            f"{line.speedup:.2f}x", style=style,
        )  # fmt: skip
    out.print(made)
    texts, same = sum(line.texts for line in lines), sum(line.identical for line in lines)
    bad = sum(p.margin > epsilon for line in lines for p in line.partings)
    parted = f"{texts - same - bad} parted where rounding can do it, {bad} where it cannot"
    out.print(f"{same} of {texts} texts identical; {parted}")
    if not sum(line.accepted for line in lines):
        out.print("[yellow]no drafted token was accepted, so this says nothing: name another drafter[/]")
