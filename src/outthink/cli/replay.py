"""`replay`: evaluate selectors and stopping rules on recorded samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from outthink import spec
from outthink.bench.summary import amount, percent, span
from outthink.cli.options import Extended, strategies_of, takes
from outthink.cli.output import console, emit, table
from outthink.core.errors import BadInput

if TYPE_CHECKING:
    from rich.table import Table

    from outthink.bench.replay.curves import Lead, Point, System
    from outthink.bench.replay.found import Flaws, Found, Law

ANALYSIS = "Analysis"


@dataclass(frozen=True)
class Replaying(Extended):
    """The options of `replay`."""

    file: Annotated[str, Argument(help="Recorded samples: JSON lines.", show_default=False)] = ""
    selectors: Annotated[str, Option(help="A list parted by ;", metavar="vote; short(m=3)")] = "vote"
    k: Annotated[str | None, Option("--k", "-k", help="Numbers of samples. \\[default: 1,2,4 ... all]")] = (
        None
    )
    draws: Annotated[int, Option(help="Subsets drawn of each problem, where they cannot all be counted.")] = (
        200
    )
    seed: Annotated[int, Option(help="The same seed draws the same subsets.")] = 0
    out: Annotated[str | None, Option(help="A folder for replay.json and replay.png.")] = None
    analyse: Annotated[
        bool, Option("--analyse", help="The law of coverage, and equal budgets.", rich_help_panel=ANALYSIS)
    ] = False
    verifier: Annotated[
        str | None, Option(help="What drawing until this passes one gives.", rich_help_panel=ANALYSIS)
    ] = None
    penalty: Annotated[float, Option(help="What a wrong answer costs.", rich_help_panel=ANALYSIS)] = 1.0
    price: Annotated[float, Option(help="What a sample costs.", rich_help_panel=ANALYSIS)] = 0.0


@takes(Replaying)
def replay(options: Replaying) -> None:
    """Evaluate selectors and stopping rules on recorded samples, without a model.

    A line has an id, an answer or text, and a reference; optional are logprob, tokens, score, scores and
    stats. Files of recorded systems and results.jsonl of `bench --samples` are read too.

    \b
      outthink replay samples.jsonl --selectors "vote; best_of_majority(k=1); short(m=3)"
      outthink replay runs/first/results.jsonl --analyse --verifier "steps(noise=0.1)" --out runs/replay
    """
    from outthink.bench.replay import found as replaying

    if not options.file:
        raise BadInput("give a FILE of recorded samples: outthink replay samples.jsonl")
    asked = replaying.Asked(
        strategies_of(options.selectors),
        _numbers(options.k),
        options.draws,
        options.seed,
        options.analyse,
        None if options.verifier is None else spec.parse(options.verifier, "verify"),
        options.penalty,
        options.price,
    )
    result = replaying.replay(Path(options.file), asked)
    files = {} if options.out is None else write(result, Path(options.out))
    if options.json:
        emit(result.as_dict() | {"files": files})
    else:
        show(result, files)


def _numbers(text: str | None) -> tuple[int, ...]:
    """`1,2,4` as numbers."""
    try:
        return tuple(int(item) for item in text.split(",")) if text is not None else ()
    except ValueError:
        raise BadInput(f"cannot read {text!r} as numbers of samples: give them such as 1,2,4") from None


def write(result: Found, folder: Path) -> dict[str, Any]:
    """Leave what was found, and its picture, in a folder; their places."""
    from outthink.bench.files import make_folder, write_json, write_whole
    from outthink.bench.replay.plot import render

    make_folder(folder)
    files = {"replay": folder / "replay.json", "plot": folder / "replay.png"}
    write_json(files["replay"], result.as_dict())
    write_whole(files["plot"], render(result))
    return {name: str(path) for name, path in files.items()}


def show(result: Found, files: dict[str, Any]) -> None:
    """The tables for people."""
    out = console()
    counts = str(result.fewest) if result.fewest == result.most else f"{result.fewest} to {result.most}"
    out.print(f"{result.problems} problems, {counts} samples each\n")
    if result.systems:
        out.print(_systems(result.systems))
    out.print(_curves(result.points))
    out.print(
        "[dim]95 %: Wilson's interval over problems; ±: the error of drawing subsets, none where exact[/]"
    )
    if len(result.leads) > 1:
        out.print(_leads(result.leads))
    if result.law is not None:
        _show_law(result.law)
    if result.flaws is not None:
        _show_flaws(result.flaws)
    for note in (*result.notes, *(f"{name}    {path}" for name, path in files.items())):
        out.print(note, soft_wrap=True, markup=False)


def _systems(found: Sequence[System]) -> Table:
    made = table("system", "right", "95 %", "samples")
    for one in found:
        made.add_row(one.system, f"{100 * one.accuracy:.2f} %", span(one.low, one.high), str(one.n))
    return made


def _curves(points: Sequence[Point]) -> Table:
    """A row for each selector and number of samples."""
    made = table("selector", "k", "right", "95 %", "±", "samples", "tokens")
    made.columns[0].no_wrap, made.columns[0].min_width = False, 16
    for before, at in zip([None, *points], points, strict=False):
        name = at.selector if before is None or before.selector != at.selector else ""
        error = f"{100 * at.error:.2f}" if at.error else ""
        tokens = "" if at.written is None else amount(at.written)
        row = (str(at.k), percent(at.accuracy), span(at.low, at.high), error, amount(at.used), tokens)
        if name and before is not None:
            made.add_section()
        made.add_row(name, *row)
    return made


def _leads(found: Sequence[Lead]) -> Table:
    made = table("at most", "best", "k", "right", f"vs {found[0].baseline}", "95 %", left=(1,))
    for one in found:
        points = f"{100 * one.difference:+.1f}"
        row = (one.selector, str(one.k), percent(one.accuracy), points, span(one.low, one.high, "+.1f"))
        made.add_row(amount(one.budget), *row)
    return made


def _show_law(law: Law) -> None:
    out = console()
    out.print(f"coverage = exp(-{law.a:.3f} k^-{law.b:.3f}), fitted at k = {', '.join(map(str, law.fitted))}")
    for k, said, measured, low, high in law.held_out:
        out.print(f"  k = {k}: says {percent(said)}, measured {percent(measured)} ({span(low, high)})")


def _show_flaws(flaws: Flaws) -> None:
    """Drawing until the verifier passes one."""
    out = console()
    true, false = percent(flaws.rates.true_positive), percent(flaws.rates.false_positive)
    out.print(f"{flaws.verifier} passes {true} of right samples, {false} of wrong ones", markup=False)
    made = table("at most", "right, predicted", "measured", "wrong, predicted", "measured", "drawn")
    for column in made.columns[1:]:
        column.no_wrap = False  # titles have two words, and break between them where there is no room
    for at in flaws.curve:
        shares = (at.predicted.right, at.measured.right, at.predicted.wrong, at.measured.wrong)
        made.add_row(str(at.k), *map(percent, shares), amount(at.measured.drawn))
    made.add_row("ceiling", percent(flaws.ceiling.right), "", percent(flaws.ceiling.wrong), "", "")
    own = flaws.ceiling_by_problem
    made.add_row("ceiling by problem", percent(own.right), "", percent(own.wrong), "", "")
    out.print(made)
    out.print(
        f"best number of samples, a wrong answer at -{flaws.penalty:g} and a sample at {flaws.price:g}: "
        f"{flaws.best_predicted} predicted, {flaws.best_measured} measured"
    )
