"""Write the model card of an exported folder from its checkpoint's state and its measured results.

    python recipes/card.py --model FOLDER --runs MINI/last.pt RUN/last.pt --results result.json

`--runs` names the checkpoints of all runs that led to the weights, in order. Where two result files hold
the same family and level, the later one counts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from export import load

from outthink.bench.tasks import load as load_task

CARD = Path(__file__).with_name("card.md")


def percent(record: dict[str, Any] | None) -> str:
    """`45 % [38, 52]`, or a dash if it was not measured."""
    if record is None:
        return "-"
    low, high = (round(100 * bound) for bound in record["wilson"])
    return f"{100 * record['share']:.0f} % [{low}, {high}]"


def table(results: list[dict[str, Any]], key: str) -> str:
    """One row per family and level."""
    rows = [f"| family | level | greedy | sample | {key} |", "| --- | --- | --- | --- | --- |"]
    for r in results:
        cells = (
            r["family"],
            str(r["level"]),
            percent(r["greedy"]),
            percent(r["sample"]),
            percent(r.get(key)),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def runs_table(runs: list[dict[str, Any]]) -> str:
    """One row per run: what it trained, for how long, to which loss."""
    rows = ["| run | model | steps | tokens | minutes | last loss |", "| --- | --- | --- | --- | --- | --- |"]
    for number, run in enumerate(runs, 1):
        s = run["state"]
        cells = (
            number,
            run["name"],
            s["step"],
            f"{s['tokens']:,}",
            f"{s['seconds'] / 60:.0f}",
            f"{s['loss']:.3f}",
        )
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


def merged(files: list[Path]) -> list[dict[str, Any]]:
    """All results in the order of the first file, later measurements in place of earlier ones."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for file in files:
        found |= {(r["family"], r["level"]): r for r in json.loads(file.read_text())}
    return list(found.values())


def card(folder: Path, runs: list[dict[str, Any]], results: list[dict[str, Any]]) -> str:
    """The text of README.md."""
    model = load(folder)
    key = next(name for r in results for name in r if name.startswith("pass@"))
    families = list(dict.fromkeys(r["family"] for r in results))
    return CARD.read_text().format(
        name=runs[-1]["name"],
        parameters=sum(p.numel() for p in model.parameters()),
        shape=model.shape,
        runs=runs_table(runs),
        k=key.removeprefix("pass@"),
        problems=min(r["greedy"]["of"] for r in results),
        deep=min(r[key]["of"] for r in results if key in r),
        table=table(results, key),
        defaults=", ".join(f"`{name}` {load_task(name).level}" for name in families),  # type: ignore[attr-defined]
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--results", type=Path, nargs="+", required=True)
    opts = parser.parse_args()
    runs = [torch.load(path, map_location="cpu", weights_only=True) for path in opts.runs]
    (opts.model / "README.md").write_text(card(opts.model, runs, merged(opts.results)))


if __name__ == "__main__":
    main()
