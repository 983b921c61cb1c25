"""The picture of a diagnosis: acceptance by depth and by position, trees, and what passes take."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from outthink.bench.diagnosis import Diagnosis
from outthink.bench.frontier import COLOURS, LIGHT, Ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def render(found: Diagnosis, ink: Ink = LIGHT) -> bytes:
    """The picture as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import

    figure = draw(found, ink)
    FigureCanvasAgg(figure)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor=ink.paper)
    return content.getvalue()


def draw(found: Diagnosis, ink: Ink = LIGHT) -> Figure:
    """The picture as a figure of four panels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 6.8), layout="constrained", facecolor=ink.paper)
    depth, position, trees, curve = figure.subplots(2, 2).flatten()
    _dress(depth, "depth in the draft", "accepted where reached, %", ink)
    depth.plot([d.depth for d in found.depths], [100 * d.rate for d in found.depths], "o-", color=COLOURS[0])
    _dress(position, "token of the text", "of checked tokens accepted, %", ink)
    middles = [(one.low + one.high) / 2 for one in found.bins]
    position.plot(middles, [100 * one.rate for one in found.bins], "s-", color=COLOURS[1])
    _dress(trees, "", "accepted tokens a draft", ink)
    names = ("accepted", "expected", "best_known", "hindsight")
    trees.bar(
        [name.replace("_", " ") for name in names],
        [getattr(found.trees, name) for name in names],
        color=COLOURS[2],
    )
    _dress(curve, "rows", "milliseconds a pass", ink)
    rows = [rows for rows, _, _ in found.curve]
    curve.plot(rows, [1000 * v for _, _, v in found.curve], "o-", color=COLOURS[0], label="v(rows)")
    curve.plot(rows, [1000 * f for _, f, _ in found.curve], "s--", color=COLOURS[3], label="forward")
    curve.set_xscale("log", base=2)
    curve.legend(frameon=False, labelcolor=ink.text)
    for panel in (depth, position):
        panel.set_ylim(0, 102)
    for panel in (trees, curve):
        panel.set_ylim(bottom=0)  # after what is drawn: it ends the choice of a top
    said = f"speed-up {found.speed.predicted:.2f}x predicted, {found.speed.measured:.2f}x measured"
    figure.suptitle(said, color=ink.text, fontsize=11)
    return figure


def _dress(panel: Axes, x: str, y: str, ink: Ink) -> None:
    panel.set_facecolor(ink.paper)
    panel.set_xlabel(x, color=ink.text)
    panel.set_ylabel(y, color=ink.text)
    panel.tick_params(colors=ink.text)
    panel.grid(color=ink.grid)
    panel.set_axisbelow(True)
    for side in panel.spines.values():
        side.set_color(ink.line)
