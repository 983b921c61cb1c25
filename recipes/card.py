"""Write the model card of an exported folder from its checkpoint's state and its measured results.

python recipes/card.py --model src/outthink/weights/pocket --checkpoint DIR/last.pt --results result.json
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
TRAIN = "python recipes/train.py --tokenizer TOK --out RUN"
COMMANDS = {
    "pocket": TRAIN + " --model pocket --minutes {m:.0f} --procs 2 --tokens 3072",
    "pocket-mini": TRAIN + " --model pocket-mini --minutes {m:.0f} --procs 1",
}


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


def card(folder: Path, checkpoint: Path, results: list[dict[str, Any]]) -> str:
    """The text of README.md."""
    model, saved = load(folder), torch.load(checkpoint, map_location="cpu", weights_only=True)
    shape, state = model.shape, saved["state"]
    key = next(name for name in results[0] if name.startswith("pass@"))
    families = list(dict.fromkeys(r["family"] for r in results))
    minutes = state["seconds"] / 60
    return CARD.read_text().format(
        name=saved["name"],
        parameters=sum(p.numel() for p in model.parameters()),
        layers=shape.layers,
        hidden=shape.hidden,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        vocab=shape.vocab,
        tokens=state["tokens"],
        steps=state["step"],
        minutes=minutes,
        loss=state["loss"],
        command=COMMANDS[saved["name"]].format(m=minutes),
        k=key.removeprefix("pass@"),
        problems=results[0]["greedy"]["of"],
        deep=results[0][key]["of"],
        table=table(results, key),
        defaults=", ".join(f"`{name}` {load_task(name).level}" for name in families),  # type: ignore[attr-defined]
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    opts = parser.parse_args()
    text = card(opts.model, opts.checkpoint, json.loads(opts.results.read_text()))
    (opts.model / "README.md").write_text(text)


if __name__ == "__main__":
    main()
