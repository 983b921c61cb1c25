"""Accuracy against tokens: a panel for each verifier, and for each family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.strategies.comparing import Results
from outthink.bench.frontier import COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID = "#22262b", "#e6e8eb"
BASE = ("vote", "best_of_n")
SHOWN = (
    "vote", "best_of_n", "beam", "dvts", "rebase", "a_star", "mcts", "particles", "entropic_particles",
    "perplexity_consistency", "short, m=3", "set_cover", "phi", "diverse_beam",
)  # fmt: skip


class Curve(NamedTuple):
    """One line of a panel."""

    name: str
    spent: list[float]
    accuracy: list[float]


def curves(results: Results, verifier: str, alone: bool = False) -> list[Curve]:
    """The strategies shown under a verifier; the vote, which needs none, is in every panel."""
    found = []
    for name in SHOWN:
        points = results.curve(name, "" if name == "vote" or alone else verifier)
        if points:
            spent = [sum(p.spent) / len(p.spent) for p in points.values()]
            found.append(Curve(name, spent, [100 * p.accuracy for p in points.values()]))
    return found


def draw(path: Path, panels: dict[str, list[Curve]]) -> None:
    """A figure with a panel for each title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    across = 2
    down = -(-len(panels) // across)
    figure = Figure(figsize=(5.6 * across, 3.9 * down + 0.8), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False, sharey=True, sharex=True).flatten()
    for panel, (title, lines) in zip(axes, panels.items(), strict=False):
        _panel(panel, title, lines)
    for panel in axes[len(panels) :]:
        panel.remove()
    for panel in axes[::across]:
        panel.set_ylabel("right answers, %", color=INK)
    handles = {line.get_label(): line for panel in axes[: len(panels)] for line in panel.get_lines()}
    ordered = [name for name in SHOWN if name in handles]
    figure.legend(
        [handles[name] for name in ordered], ordered, loc="outside lower center", ncols=5, frameon=False
    )
    figure.savefig(path, dpi=110)


def _panel(panel: Axes, title: str, lines: Sequence[Curve]) -> None:
    panel.set_title(title, loc="left", color=INK, fontsize=11)
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    panel.set_xlabel("tokens written, in samples", color=INK)
    panel.grid(color=GRID)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.tick_params(labelbottom=True)
    for line in lines:
        at = SHOWN.index(line.name)
        is_base = line.name in BASE
        panel.plot(
            line.spent,
            line.accuracy,
            label=line.name,
            color=("#000000", "#8a8f98")[at] if is_base else COLOURS[(at - 2) % len(COLOURS)],
            marker=MARKERS[at % len(MARKERS)],
            markersize=5,
            linewidth=2.2 if is_base else 1.5,
            linestyle="-" if at < 2 + len(COLOURS) else "--",
        )
