"""The report of a run: one HTML file that needs nothing else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from outthink.bench.frontier import DARK, LIGHT, Ink, frontier, render
from outthink.bench.plan import Plan
from outthink.bench.results import Record
from outthink.bench.summary import COLUMNS, Difference, Row, span

EXAMPLES = 2  # of each task
NOTES = """\
Costs are means per problem. Written counts every token that was sampled, kept or not. Positions and
FLOPs are counted without reuse between problems, so they do not depend on batching; passes and seconds
are what this run really used, and no strategy finds another's texts in the cache. Points of nearly equal
cost stand side by side in the plot. Shaded rows are on the frontier: nothing cheaper is as good. Intervals
are 95 %: Wilson's for an accuracy; for a difference, in percentage points, a paired bootstrap over
problems, coloured where it does not touch zero. Differences are against"""


def html(plan: Plan, records: Sequence[Record], rows: Sequence[Row], compared: Sequence[Difference]) -> str:
    """The whole page."""
    css = files("outthink.bench").joinpath("report.css").read_text(encoding="utf-8")
    body = "".join(
        (
            f"<h1>What more tokens buy: {escape(_title(plan))}</h1>",
            f'<p class="lead">{escape(_lead(plan))}</p>',
            _picture(rows),
            f"<h2>Results</h2>{_table(plan, rows, compared)}{_notes(plan)}",
            f"<h2>Examples</h2>{''.join(_examples(plan, records))}",
            f"<h2>Configuration</h2>{_configuration(plan)}",
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>outthink bench: {escape(_title(plan))}</title><style>{css}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def _title(plan: Plan) -> str:
    """The model, without the folders that it is in."""
    return plan.model.rstrip("/").rpartition("/")[2] or plan.model


def _lead(plan: Plan) -> str:
    tasks = ", ".join(_bare(task) for task in plan.tasks)
    return f"{len(plan.strategies)} strategies, {plan.n} test problems each of {tasks}, seed {plan.seed}."


def _bare(shown: str) -> str:
    return shown.removesuffix("()")


def _picture(rows: Sequence[Row]) -> str:
    """The plot, in the colours that the reader's system asks for."""
    dark = f'<source srcset="{_data(rows, DARK)}" media="(prefers-color-scheme: dark)">'
    words = (
        "Accuracy against tokens written per problem, a panel for each task; the table below has the numbers."
    )
    return f'<picture>{dark}<img src="{_data(rows, LIGHT)}" alt="{words}"></picture>'


def _data(rows: Sequence[Row], ink: Ink) -> str:
    return "data:image/png;base64," + b64encode(render(rows, ink)).decode()


def _table(plan: Plan, rows: Sequence[Row], compared: Sequence[Difference]) -> str:
    """Rows by task; the rows of the frontier are marked."""
    baseline = _bare(next(iter(plan.strategies)))
    titles = [*(title for title, _ in COLUMNS), f"against {baseline}"]
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    found = {(d.task, d.strategy): d for d in compared}
    lines = []
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        best = frontier(own)
        lines.append(f'<tr class="task"><td colspan="{len(titles) + 1}">{escape(_bare(task))}</td></tr>')
        lines += [_line(row, row in best, found.get((row.task, row.strategy))) for row in own]
    return (
        f'<div class="scroll"><table><thead><tr><th class="name">strategy</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _line(row: Row, is_best: bool, difference: Difference | None) -> str:
    """One strategy on one task."""
    cells = "".join(f"<td>{escape(show(row))}</td>" for _, show in COLUMNS)
    style = ' class="best"' if is_best else ""
    name = f'<td class="name"><code>{escape(_bare(row.strategy))}</code>{_failures(row)}</td>'
    return f"<tr{style}>{name}{cells}<td>{_difference(difference)}</td></tr>"


def _failures(row: Row) -> str:
    """How many problems could not be asked, if any."""
    return f' <span class="wrong">{row.errors} could not be asked</span>' if row.errors else ""


def _difference(d: Difference | None) -> str:
    """A difference in points, coloured where its interval does not touch zero."""
    if d is None:
        return "&ndash;"
    style = "up" if d.low > 0 else "down" if d.high < 0 else ""
    return f'<span class="{style}">{100 * d.difference:+.1f}</span> ({span(d.low, d.high, "+.1f")})'


def _notes(plan: Plan) -> str:
    return f'<p class="note">{NOTES} {escape(_bare(next(iter(plan.strategies))))}.</p>'


def _examples(plan: Plan, records: Sequence[Record]) -> Iterator[str]:
    """Problems of each task, those first on which strategies disagree."""
    for name, task in plan.tasks.items():
        by_index: dict[int, list[Record]] = {}
        for record in records:
            if record["task"] == name:
                by_index.setdefault(record["index"], []).append(record)
        chosen = sorted(by_index, key=lambda i: (len({r["correct"] for r in by_index[i]}) == 1, i))[:EXAMPLES]
        for index in chosen:
            problem = task.problem("test", index)
            head = (
                f"<article><h3>{escape(_bare(name))}, problem {index}</h3><pre>{escape(problem.prompt)}</pre>"
            )
            wanted = f'<p class="note">A right answer: <code>{escape(problem.secret.reference)}</code></p>'
            yield head + wanted + "".join(map(_told, by_index[index])) + "</article>"


def _told(record: Record) -> str:
    """What one strategy answered."""
    verdict = "right" if record["correct"] else "wrong"
    final = "no answer" if record["final"] is None else record["final"]
    text = record["error"] or record["text"]
    name = f"<code>{escape(_bare(record['strategy']))}</code>"
    told = f'{name} <span class="{verdict}">{verdict}</span>: <code>{escape(final)}</code>'
    return f"<details><summary>{told}</summary><pre>{escape(text)}</pre></details>"


def _configuration(plan: Plan) -> str:
    """Everything that the answers depend on."""
    items = "".join(
        f"<dt>{escape(key)}</dt><dd><code>{escape(_shown(value))}</code></dd>"
        for key, value in plan.config().items()
    )
    return f"<dl>{items}</dl>"


def _shown(value: object) -> str:
    """A value of the configuration, as one gives it on the command line."""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={cap}" for key, cap in value.items()) or "no cap"
    return str(value)
