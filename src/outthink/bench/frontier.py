"""The plot of a run: accuracy against tokens, a panel for each task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from outthink.bench.summary import Row, amount

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by the colour-blind; each also has a marker of its own
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#B8A800")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h", "<", ">", "p")
WIDEST = 3  # panels in a row
BESIDE = "the most that so many tokens buy; bars: 95 % intervals; marks at one place stand side by side"
APART = 0.028  # of a panel's width: the least distance between points


class Ink(NamedTuple):
    """The colours of everything but the data."""

    paper: str
    text: str
    grid: str
    line: str


LIGHT = Ink("#ffffff", "#22262b", "#e6e8eb", "#b4bac2")
DARK = Ink("#16191d", "#d9dde2", "#2b3036", "#59616b")


def render(rows: Sequence[Row], ink: Ink = LIGHT) -> bytes:
    """The plot as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import

    figure = draw(rows, ink)
    FigureCanvasAgg(figure)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor=ink.paper)
    return content.getvalue()


def draw(rows: Sequence[Row], ink: Ink = LIGHT) -> Figure:
    """The plot as a figure."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row.task for row in rows))
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    across = 2 if len(tasks) == 4 else min(len(tasks), WIDEST)
    down = -(-len(tasks) // across)
    legend = 0.22 * (len(strategies) + 1) + 0.25
    size = (max(4.6 * across, 5.4), 3.5 * down + legend)
    figure = Figure(figsize=size, layout="constrained", facecolor=ink.paper)
    panels = figure.subplots(down, across, squeeze=False, sharey=True).flatten()
    for panel, task in zip(panels, tasks, strict=False):
        _panel(panel, task, [row for row in rows if row.task == task], strategies, ink)
    for panel in panels[len(tasks) :]:
        panel.remove()
    for panel in panels[::across]:
        panel.set_ylabel("right answers, %", color=ink.text)
    _legend(figure, strategies, ink)
    return figure


def _panel(panel: Axes, task: str, rows: list[Row], strategies: list[str], ink: Ink) -> None:
    """One task."""
    _dress(panel, task, rows, ink)
    _staircase(panel, rows, ink)
    for row, spent in zip(rows, _side_by_side(rows, panel.get_xlim()), strict=True):
        below, above = row.accuracy - row.low, row.high - row.accuracy
        panel.errorbar(
            spent,
            100 * row.accuracy,
            yerr=[[100 * max(below, 0)], [100 * max(above, 0)]],
            markersize=8,
            elinewidth=1.6,
            capsize=3.5,
            linestyle="none",
            zorder=3,
            **_style(strategies.index(row.strategy), ink),
        )


def _side_by_side(rows: Sequence[Row], limits: tuple[float, float]) -> list[float]:
    """Where each row stands on the x axis: its tokens, but apart from those that it would hide."""
    apart = (limits[1] / limits[0]) ** APART
    order = sorted(range(len(rows)), key=lambda i: rows[i].written)
    spent = [max(row.written, 1) for row in rows]
    groups: list[list[int]] = []
    for i in order:
        if groups and spent[i] < spent[groups[-1][-1]] * apart:
            groups[-1].append(i)
        else:
            groups.append([i])
    for group in groups:
        middle = math.prod(spent[i] ** (1 / len(group)) for i in group)
        for place, i in enumerate(group if len(group) > 1 else ()):
            spent[i] = middle * apart ** (place - (len(group) - 1) / 2)
    return spent


def _dress(panel: Axes, task: str, rows: list[Row], ink: Ink) -> None:
    """Axes, grid, title."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.set_facecolor(ink.paper)
    panel.set_xscale("log")
    spent = [max(row.written, 1) for row in rows]
    panel.set_xlim(min(spent) / 1.6, max(spent) * 1.6)
    panel.set_ylim(0, 102)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(spent) < 300 * min(spent) else (1,)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    panel.set_xlabel("tokens written per problem", color=ink.text)
    panel.set_title(
        f"{task.removesuffix('()')}  ({rows[0].n} problems)", color=ink.text, fontsize=11, loc="left"
    )
    panel.grid(color=ink.grid, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(colors=ink.text, length=0)
    for side, spine in panel.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink.line)


def frontier(rows: Sequence[Row]) -> list[Row]:
    """The rows that no cheaper one equals, by tokens."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.written, -row.accuracy)):
        if not best or row.accuracy > best[-1].accuracy:
            best.append(row)
    return best


def _staircase(panel: Axes, rows: list[Row], ink: Ink) -> None:
    """The best accuracy that so many tokens have bought."""
    best = frontier(rows)
    x = [max(row.written, 1) for row in best] + [panel.get_xlim()[1]]
    y = [100 * row.accuracy for row in best] + [100 * best[-1].accuracy]
    panel.step(x, y, where="post", zorder=1, **_stairs(ink))


def _stairs(ink: Ink) -> dict[str, Any]:
    """How the staircase looks."""
    return {"color": ink.line, "linewidth": 1.2, "linestyle": (0, (4, 3))}


def _legend(figure: Figure, strategies: list[str], ink: Ink) -> None:
    """One key for all panels, below them: a configuration may be long."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], linestyle="none", markersize=8, **_style(i, ink)) for i in range(len(strategies))]
    stairs = Line2D([], [], **_stairs(ink))
    figure.legend(
        [*marks, stairs],
        [*(_cut(strategy.removesuffix("()")) for strategy in strategies), BESIDE],
        loc="outside lower left",
        frameon=False,
        labelcolor=ink.text,
        prop={"family": "monospace", "size": 9},
    )


def _cut(text: str, limit: int = 90) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _style(number: int, ink: Ink) -> dict[str, Any]:
    """How the strategy of that number looks: a colour and a marker."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    return {"color": colour, "marker": marker, "markeredgecolor": ink.paper}
