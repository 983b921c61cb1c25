"""The certificate of speculation on pocket, at scale: benchmarks/CERTIFICATE.md.

    python -m benchmarks.certificate                     every setting that is not done yet, then the page
    python -m benchmarks.certificate --only float32 --n 50
    python -m benchmarks.certificate --page              the page alone, from what has run

One line of `--out` (JSON lines) is one setting on one task; what is there is not run again. Times are not
reported: this is about bits.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import outthink as ot
from outthink import spec
from outthink.bench.certify import EPSILON, SAMPLINGS, certify

HERE = Path(__file__).parent
TASKS = ("steps", "countdown", "paths", "procedures")
STRATEGIES = ("once", "vote(n=8)")


@dataclass(frozen=True)
class Setting:
    """One way to run the model, and who drafts."""

    name: str
    dtype: str
    drafter: str
    kernels: str = "auto"
    deterministic: bool = False
    part: float = 1.0  # of the problems: slow settings run on fewer

    @property
    def promise(self) -> str:
        """What must hold."""
        if self.deterministic or self.dtype == "float64":
            return "every text identical"
        return f"identical, or parted below {EPSILON:g}"


MODEL = "draft_model(model='pocket-mini', n=4)"
SETTINGS = (
    Setting("float32", "float32", "hierarchy"),
    Setting("float32, drafting model", "float32", MODEL, part=0.5),
    Setting("float32, auto", "float32", "auto"),
    Setting("float32 torch", "float32", "hierarchy", "torch", part=0.25),
    Setting("float64", "float64", "hierarchy", part=0.5),
    Setting("deterministic float32", "float32", "hierarchy", deterministic=True),
    Setting("deterministic bfloat16", "bfloat16", "hierarchy", deterministic=True),
    Setting("deterministic float32 torch", "float32", "hierarchy", "torch", True, 0.05),
    Setting("deterministic bfloat16 torch", "bfloat16", "hierarchy", "torch", True, 0.05),
)


def measure(setting: Setting, task: str, n: int, seed: int) -> dict[str, Any]:
    """One setting on one task."""
    began = time.perf_counter()
    lm = ot.load(
        "pocket",
        dtype=setting.dtype,
        kernels=setting.kernels,
        speculate=setting.drafter,
        deterministic=setting.deterministic,
    )
    assert lm.speculate is not None
    named = spec.parse_named("; ".join(STRATEGIES))
    lines = certify(lm, lm.speculate, spec.parse(task, "bench.tasks"), named, n, seed)
    machine = lm.main.backend.machine
    lm.close()
    return {
        "setting": setting.name, "task": task, "n": n, "seed": seed, "drafter": setting.drafter,
        "machine": machine, "minutes": (time.perf_counter() - began) / 60,
        "runs": [line.as_dict() for line in lines],
    }  # fmt: skip


def page(found: list[dict[str, Any]]) -> str:
    """The page, from the lines of the file."""
    rows = [_row(setting, found) for setting in SETTINGS]
    run = {(one["setting"], one["task"]) for one in found}
    left = {way.name: [task for task in TASKS if (way.name, task) not in run] for way in SETTINGS}
    missing = [f"{name} ({', '.join(some)})" for name, some in left.items() if some]
    tasks, ways = ", ".join(TASKS), len(SAMPLINGS)
    lines = [
        "# Certificate: speculation leaves pocket's text as it is",
        "",
        f"Written by `python -m benchmarks.certificate`. Tasks {tasks}; strategies {', '.join(STRATEGIES)};",
        f"{ways} samplings each: temperature 0, 0.8, and 1.0 with top-p 0.9, min-p 0.02, repetition penalty",
        "1.1 and logit bias. Every text is written twice with the same seeds, plain and drafted. epsilon is",
        f"{EPSILON:g}. A margin is that of the draw at which two texts part, where they do.",
        "",
        "| setting | drafter | problems | texts | identical | accepted | largest margin | promise | held |",
        "|---|---|---|---|---|---|---|---|---|",
        *(row for row in rows if row),
        "",
    ]
    if missing:
        lines += [f"Not run: {'; '.join(missing)}.", ""]
    machines = {f["setting"]: f["machine"] for f in found}
    return "\n".join([*lines, *(f"- {name}: {machine}" for name, machine in machines.items()), ""])


def _row(setting: Setting, found: list[dict[str, Any]]) -> str:
    """The row of a setting; empty where none of its tasks has run."""
    own = [f for f in found if f["setting"] == setting.name]
    if not own:
        return ""
    runs = [run for f in own for run in f["runs"]]
    texts, same = (sum(run[name] for run in runs) for name in ("texts", "identical"))
    accepted, checked = (sum(run[name] for run in runs) for name in ("accepted", "checked"))
    margins = [parting["margin"] for run in runs for parting in run["partings"]]
    strict = setting.deterministic or setting.dtype == "float64"
    held = same == texts if strict else all(margin <= EPSILON for margin in margins)
    counts = " / ".join(f"{f['task']} {f['n']}" for f in own)
    word = ("yes" if held else "**no**") if accepted else "nothing was accepted: says nothing"
    worst = f"{max(margins):.2g}" if margins else ""
    drafts = f"{accepted} of {checked}"
    cells = (setting.name, f"`{setting.drafter}`", counts, texts, same, drafts, worst, setting.promise, word)
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Run what is not done, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="problems of each task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a setting by name; repeatable")
    parser.add_argument("--out", type=Path, default=Path("runs/certificate.jsonl"))
    parser.add_argument("--page", action="store_true", help="write the page alone")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    known = {(one["setting"], one["task"]) for one in done}
    for setting in () if given.page else SETTINGS:
        for task in TASKS:
            if (setting.name, task) in known or (given.only and setting.name not in given.only):
                continue
            print(f"{setting.name}, {task} ...", file=sys.stderr, flush=True)
            done.append(measure(setting, task, max(1, round(given.n * setting.part)), given.seed))
            with given.out.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
    (HERE / "CERTIFICATE.md").write_text(page(done))


if __name__ == "__main__":
    main()
