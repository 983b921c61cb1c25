"""The picture of a replay: accuracy against what it takes, and with an analysis the two laws beside it."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from outthink.bench.frontier import COLOURS, LIGHT, MARKERS, Ink
from outthink.bench.replay.curves import COVERAGE, Point, cost
from outthink.bench.replay.found import Flaws, Found, Law
from outthink.bench.summary import amount

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BANDS = 4  # more intervals on top of each other show nothing


def render(found: Found, ink: Ink = LIGHT) -> bytes:
    """The picture as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import

    figure = draw(found, ink)
    FigureCanvasAgg(figure)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor=ink.paper)
    return content.getvalue()


def draw(found: Found, ink: Ink = LIGHT) -> Figure:
    """The picture as a figure: one panel, and one more for each part of the analysis."""
    from matplotlib.figure import Figure

    parts = 1 + (found.law is not None) + (found.flaws is not None)
    names = list(dict.fromkeys(p.selector for p in found.points))
    size = (max(5.2 * parts, 6.4), 3.9 + 0.22 * len(names))
    figure = Figure(figsize=size, layout="constrained", facecolor=ink.paper)
    panels = list(figure.subplots(1, parts, squeeze=False).flatten())
    _curves(panels[0], found, names, ink)
    coverage = [p for p in found.points if p.selector == COVERAGE]
    if found.law is not None:
        _law(panels[1], found.law, coverage, ink)
    if found.flaws is not None:
        _flaws(panels[-1], found.flaws, ink)
    _legend(figure, names, ink)
    return figure


def _curves(panel: Axes, found: Found, names: Sequence[str], ink: Ink) -> None:
    """Accuracy of each selector with its interval, against tokens; samples where tokens were not counted."""
    is_counted = all(p.written is not None for p in found.points)
    _dress(
        panel, f"{found.problems} problems", "tokens" if is_counted else "samples", "right answers, %", ink
    )
    for number, name in enumerate(names):
        own = sorted((p for p in found.points if p.selector == name), key=cost)
        x = [cost(p) for p in own]
        colour, marker = _look(number, name, ink)
        if len(names) <= MOST_BANDS:
            low, high = [100 * p.low for p in own], [100 * p.high for p in own]
            panel.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
        style = (0, (4, 3)) if name == COVERAGE else "-"
        panel.plot(
            x, [100 * p.accuracy for p in own], color=colour, marker=marker, linestyle=style, markersize=5.5
        )


def _law(panel: Axes, law: Law, coverage: Sequence[Point], ink: Ink) -> None:
    """Coverage as measured, and the law: filled where it was fitted, hollow where it was not."""
    _dress(panel, f"coverage and exp(-{law.a:.2f} k^-{law.b:.2f})", "samples", "any right, %", ink)
    top = 16 * coverage[-1].k
    ks = [coverage[0].k * (top / coverage[0].k) ** (i / 60) for i in range(61)]
    panel.plot(ks, [100 * law(k) for k in ks], color=COLOURS[0], linestyle=(0, (4, 3)), label="law")
    for label, is_fitted in (("fitted", True), ("held out", False)):
        own = [p for p in coverage if (p.k in law.fitted) == is_fitted]
        if own:
            _points(panel, [p.k for p in own], own, label, COLOURS[0] if is_fitted else ink.paper)
    panel.legend(frameon=False, labelcolor=ink.text, fontsize=9)


def _points(panel: Axes, x: Sequence[float], own: Sequence[Point], label: str, face: str) -> None:
    bars = [[100 * (p.accuracy - p.low) for p in own], [100 * (p.high - p.accuracy) for p in own]]
    panel.errorbar(
        x,
        [100 * p.accuracy for p in own],
        yerr=bars,
        fmt="o",
        color=COLOURS[0],
        markerfacecolor=face,
        capsize=3,
        label=label,
    )


def _flaws(panel: Axes, flaws: Flaws, ink: Ink) -> None:
    """Until the verifier passes one: right and wrong answers as predicted (lines) and measured (points)."""
    _dress(panel, f"until {flaws.verifier} passes one", "samples (at most)", "of all problems, %", ink)
    ks = [p.k for p in flaws.curve]
    for name, colour, marker in (("right", COLOURS[2], "o"), ("wrong", COLOURS[1], "s")):
        line = [100 * getattr(p.predicted, name) for p in flaws.curve]
        dots = [100 * getattr(p.measured, name) for p in flaws.curve]
        panel.plot(ks, line, color=colour, label=f"{name}, predicted")
        panel.plot(ks, dots, color=colour, marker=marker, linestyle="none", label=f"{name}, measured")
    panel.axhline(
        100 * flaws.ceiling.right, color=COLOURS[2], linestyle=(0, (1, 2)), label="ceiling, predicted"
    )
    panel.legend(frameon=False, labelcolor=ink.text, fontsize=9)


def _dress(panel: Axes, title: str, x: str, y: str, ink: Ink) -> None:
    """Axes, grid, title."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.set_facecolor(ink.paper)
    panel.set_xscale("log", base=2)
    panel.set_ylim(0, 102)
    panel.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    panel.set_xlabel(f"{x} per problem", color=ink.text)
    panel.set_ylabel(y, color=ink.text)
    panel.set_title(title, color=ink.text, fontsize=11, loc="left")
    panel.grid(color=ink.grid, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(colors=ink.text, length=0)
    for side, spine in panel.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink.line)


def _look(number: int, name: str, ink: Ink) -> tuple[str, str]:
    """Colour and marker; coverage is no selector, and has the colour of the text."""
    if name == COVERAGE:
        return ink.text, "."
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def _legend(figure: Figure, names: Sequence[str], ink: Ink) -> None:
    from matplotlib.lines import Line2D

    looks = [_look(number, name, ink) for number, name in enumerate(names)]
    keys: list[Any] = [Line2D([], [], color=colour, marker=marker) for colour, marker in looks]
    figure.legend(
        keys,
        [name if len(name) <= 90 else name[:87] + "..." for name in names],
        loc="outside lower left",
        frameon=False,
        labelcolor=ink.text,
        prop={"family": "monospace", "size": 9},
    )
