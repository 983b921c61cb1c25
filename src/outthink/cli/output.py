"""What the commands print: tables for people on stdout, or one JSON object for machines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from math import isfinite
from typing import TYPE_CHECKING, Any

from outthink.bench.files import to_json
from outthink.bench.runner import finish_of
from outthink.bench.summary import Difference, Row, amount, percent, span
from outthink.core.receipt import Receipt
from outthink.core.types import Answer

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod, RenderableType
    from rich.table import Table

    from outthink.core.problem import Problem


def console(as_json: bool = False) -> Console:
    """Where a command talks to people: stdout, or stderr where stdout is for JSON."""
    from rich.console import Console

    return Console(stderr=as_json, highlight=False, soft_wrap=False)


PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def safe(text: str) -> str:
    """The text with control characters as pictures: what a model writes may not move the cursor."""
    return text.translate(PICTURES)


def emit(value: dict[str, Any]) -> None:
    """The one JSON object."""
    sys.stdout.write(to_json(value) + "\n")


def table(*titles: str, left: Iterable[int] = (0,)) -> Table:
    """An airy table; the columns in `left` hold words, the others numbers. Words fold, but for the first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    words = set(left)
    for number, title in enumerate(titles):
        is_long = number in words and number > 0
        side: JustifyMethod = "left" if number in words else "right"
        made.add_column(title, justify=side, overflow="fold", no_wrap=not is_long)
    return made


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer as `solve --json` prints it."""
    return {
        "text": answer.text,
        "final": answer.final,
        "score": answer.score,
        "finish": finish_of(answer),
        "estimates": {name: x if isfinite(x) else None for name, x in answer.estimates.items()},
        "receipt": answer.receipt.as_dict() if answer.receipt else None,
    }


GAP = 3  # characters between two columns of a table
SPENT = ("written", "read", "positions", "passes", "flops", "seconds", "dollars", "discarded", "verified")


def receipt_table(receipt: Receipt, width: int) -> Table:
    """Both books, a line each, and the logical book of each named block; what nobody spent is left out.

    Where that is wider than the terminal, a column each: numbers are never cut.
    """
    books = {"asked": receipt.logical, "computed": receipt.actual}
    books |= {name: cost for name, cost in receipt.by_scope.items() if name != "run"}
    spent = [name for name in SPENT if any(getattr(cost, name) for cost in books.values())]
    grid = [["", *(name if name != "flops" else "FLOPs" for name in spent), "cache"]]
    for name, cost in books.items():
        cells = [amount(getattr(cost, key)) if getattr(cost, key) else "" for key in spent]
        grid.append([name, *cells, f"{amount(cost.cache_bytes)}B" if cost.cache_bytes else ""])
    if sum(max(map(len, column)) + GAP for column in zip(*grid, strict=True)) - GAP > width:
        grid = [list(column) for column in zip(*grid, strict=True)]
    made = table(*grid[0])
    for column in made.columns:
        column.no_wrap = False
    for row in grid[1:]:
        made.add_row(*row)
    return made


def show_answer(out: Console, answer: Answer, problem: Problem) -> None:
    """The answer, whether it is right where that is known, what it cost, and what would give it again."""
    from rich.text import Text

    out.print(Text(safe(answer.text).rstrip("\n")))
    out.print()
    score = "" if answer.score is None else f"   score {answer.score:.4g}"
    final = Text("no answer found", "dim") if answer.final is None else Text(safe(answer.final), "bold green")
    verdict = _verdict(problem, answer)
    out.print(Text.assemble(("answer ", "dim"), final, verdict, (f"{score}   {finish_of(answer)}", "dim")))
    if answer.receipt:
        show_receipt(out, answer.receipt)


def _verdict(problem: Problem, answer: Answer) -> tuple[str, str]:
    """What the problem's task says of the answer."""
    if problem.task is None:
        return "", ""
    return ("   right", "green") if problem.task.check(problem, answer.final) else ("   wrong", "red")


def speculation_lines(receipt: Receipt) -> list[str]:
    """What each drafter did, and what came of it: of drafts that were checked."""
    lines = [
        f"{name}: {d.accepted} of {d.checked} drafted tokens accepted in {d.steps} drafts, "
        f"{d.seconds * 1000:.0f} ms of drafting, {'warm' if d.is_warm else 'cold'}"
        for name, d in receipt.speculation.items()
        if d.steps
    ]
    if receipt.speculation:
        lines.append(f"{receipt.drawn_per_row:.2f} tokens a branch and pass")
    return lines


def show_receipt(out: Console, receipt: Receipt) -> None:
    """The receipt, and anything that was less than asked for."""
    from rich.text import Text

    out.print()
    out.print(receipt_table(receipt, out.width))
    for line in speculation_lines(receipt):
        out.print(Text(line, "dim"))
    for less in receipt.degradations:
        out.print(Text(f"{less.what}: {less.why}", "yellow"))
    for how in receipt.estimated:
        out.print(Text(f"estimated: {how}", "dim"))
    speed = receipt.actual.written / max(receipt.wall, 1e-9)
    told = (
        receipt.config,
        f"seed {receipt.seed}",
        receipt.model,
        f"{receipt.wall:.2f} s",
        f"{speed:,.0f} tokens/s",
        *(["deterministic"] if receipt.deterministic else []),
    )
    out.print(Text("   ".join(told), "dim"))


def results_table(
    rows: Iterable[Row], compared: Iterable[Difference] = (), width: int = 80
) -> RenderableType:
    """The rows of a run, a block for each task; what is best in a block is bold.

    What a narrow terminal has no room for is left out.
    """
    from rich.padding import Padding

    rows, found = list(rows), {(d.task, d.strategy): d for d in compared}
    longest = max((len(row.strategy) + 2 for row in rows), default=0)
    names = min(max(longest, NAMES), LONGEST)
    titles = _fitting(width, names)
    made = table("", *titles)
    made.columns[0].no_wrap = False
    made.columns[0].min_width = min(names, max(width - sum(COLUMNS[t] + GAP for t in titles), NAMES))
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        best = max(row.accuracy for row in own)
        made.add_row(task.removesuffix("()"), style="dim")
        for row in own:
            cells = {
                "right": percent(row.accuracy),
                "95 %": span(row.low, row.high, ".0f"),
                "written": amount(row.written),
                "sec": amount(row.seconds),
                "positions": amount(row.positions),
                "FLOPs": amount(row.flops),
                "vs first": _points(found.get((task, row.strategy))),
            }
            style = "bold" if row.accuracy == best else ""
            made.add_row(Padding(row.strategy, (0, 0, 0, 2)), *map(cells.__getitem__, titles), style=style)
        made.add_section()
    return made


NAMES, LONGEST = 16, 34  # characters that names of strategies get at least; at most, where a column has to go
COLUMNS = {"right": 7, "95 %": 9, "written": 7, "sec": 5, "positions": 9, "FLOPs": 5, "vs first": 8}  # widths
# Where there is no room for all, the first to go first. Fewer tokens may take longer: both or neither.
SPARED = (("FLOPs",), ("positions",), ("written", "sec"), ("vs first",))
YIELDING = SPARED[:2]  # those that go before a name is broken


def _fitting(width: int, names: int) -> list[str]:
    """The columns of results that a terminal has room for, beside names of so many characters."""
    left = dict(COLUMNS)
    for titles in SPARED:
        least = names if titles in YIELDING else NAMES
        if least + sum(size + GAP for size in left.values()) <= width:
            break
        left = {title: size for title, size in left.items() if title not in titles}
    return list(left)


def headlines(rows: Iterable[Row]) -> list[str]:
    """The run in a sentence for each task: what the best strategy gains on the first, at what price."""
    rows, said = list(rows), []
    for task in dict.fromkeys(row.task for row in rows):
        first, *others = [row for row in rows if row.task == task]
        best = max([first, *others], key=lambda row: (row.accuracy, -row.written))
        if best is first:
            said.append(f"{task}: nothing here beats {first.strategy}")
            continue
        more = best.written / max(first.written, 1)
        longer = best.seconds / max(first.seconds, 1e-9)
        gain = f"{percent(first.accuracy)} to {percent(best.accuracy)}"
        price = f"{more:.1f} times the tokens and {longer:.1f} times the time"
        said.append(f"{task}: from {gain} with {best.strategy}, for {price}")
    return said


def _points(difference: Difference | None) -> str:
    """A difference in percentage points, starred where its interval does not touch zero."""
    if difference is None:
        return ""
    star = "*" if difference.low > 0 or difference.high < 0 else " "
    return f"{100 * difference.difference:+.1f}{star}"
