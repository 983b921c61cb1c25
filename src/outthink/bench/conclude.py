"""What a finished run leaves beside its results: summary, plot and report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from outthink.bench.files import write_json, write_whole
from outthink.bench.frontier import render
from outthink.bench.plan import Plan
from outthink.bench.report import html
from outthink.bench.results import Record
from outthink.bench.summary import Difference, Row, differences, summarize


class Conclusion(NamedTuple):
    """What was found, and where it is told."""

    rows: list[Row]
    compared: list[Difference]
    summary: Path
    plot: Path
    report: Path


def conclude(plan: Plan, records: Sequence[Record], folder: Path) -> Conclusion:
    """Write summary.json, frontier.png and report.html, each whole or not at all."""
    rows, compared = summarize(records), differences(records)
    found = Conclusion(
        rows, compared, folder / "summary.json", folder / "frontier.png", folder / "report.html"
    )
    write_json(found.summary, [row.as_dict() for row in rows])
    write_whole(found.plot, render(rows))
    write_whole(found.report, html(plan, records, rows, compared).encode("utf-8", "replace"))
    return found
