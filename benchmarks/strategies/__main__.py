"""Strategies at equal budgets of written tokens. Every step goes on where it was left.

python -m benchmarks.strategies units      how long samples and steps are, on the train split
python -m benchmarks.strategies pool       record the samples that selectors are replayed from
python -m benchmarks.strategies sweep      run the searches live, small budgets first
python -m benchmarks.strategies replay     the selectors on the pool
python -m benchmarks.strategies check      a few cells of the replay, run live: must be the same answers
python -m benchmarks.strategies report     benchmarks/STRATEGIES.md, its plots and its data
python -m benchmarks.strategies overhead   time outside the forward, and positions a distinct token
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import describe
from benchmarks.padded import LARGE, LAYERS, WIDTH, pad
from benchmarks.strategies import (
    checking,
    claims,
    comparing,
    lines,
    live,
    overhead,
    page,
    parts,
    plots,
    pool,
    replaying,
)
from benchmarks.strategies.settings import FAMILIES, MULTIPLES, PROBLEMS, SEEDS, Unit, cells, measure_unit
from outthink.backends.load import locate

if TYPE_CHECKING:
    from outthink.bench.replay.estimate import Replay
    from outthink.engine.engine import Engine

HERE = Path(__file__).resolve().parents[1]
CHECKED = (8,)  # budgets, in samples, at which a replay is run live
STEPS = ("units", "pool", "sweep", "replay", "check", "report", "overhead")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", nargs="+", choices=STEPS, metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--out", type=Path, default=Path("runs/strategies"), help="raw results")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--head", default="", help="a trained verifier to add, such as 'prm()'")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--multiples", nargs="+", type=int, default=list(MULTIPLES))
    parser.add_argument("--problems", type=int, default=PROBLEMS, help="for each family and seed")
    parser.add_argument("--only", nargs="+", default=[], help="strategies, by name")
    parser.add_argument("--verifiers", nargs="+", default=None, help="only these; '' is none")
    parser.add_argument("--part", default="", help="a name for this one of several processes")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing new after these")
    parser.add_argument("--remark", action="append", default=[], help="a line for the top of the report")
    return parser.parse_args()


def load(given: argparse.Namespace) -> Engine:
    import outthink as ot

    engine: Engine = ot.load(given.model, threads=1)
    return engine


def units(given: argparse.Namespace, engine: Engine | None = None) -> dict[str, Unit]:
    """The unit of each family, measured once."""
    path = given.out / "units.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for family in given.families:
        if family not in found:
            engine = engine or load(given)
            found[family] = asdict(measure_unit(engine, family))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found, indent=1) + "\n")
    return {family: Unit(**found[family]) for family in found}


def chosen(given: argparse.Namespace, entries: list[parts.Entry]) -> list[parts.Entry]:
    """The entries that were asked for."""
    return [
        entry
        for entry in entries
        if (not given.only or entry.strategy in given.only)
        and (given.verifiers is None or entry.verifier in given.verifiers)
    ]


def record(given: argparse.Namespace) -> None:
    todo = [cell for family in given.families for cell in cells(family, given.problems)]
    pool.record(load(given), given.out / "pool.jsonl", todo, head=given.head)


def sweep(given: argparse.Namespace, until: float) -> None:
    engine = load(given)
    todo = live.groups(chosen(given, parts.live(given.head)), given.families, given.multiples)
    own = partial(cells, problems=given.problems)
    live.sweep(engine, given.out / f"live{given.part}.jsonl", todo, units(given, engine), own, until, say)


def replay(given: argparse.Namespace) -> None:
    """Selectors are quick: whatever the file lacks is added."""
    path, size = given.out / "replayed.jsonl", units(given)
    have = {live.key_of(line) for line in lines.read(path)}
    todo = {family: cells(family, given.problems) for family in given.families}
    for family, pooled in replaying.load(given.out / "pool.jsonl", todo).items():
        for entry in chosen(given, parts.replayed(given.head)):
            ready: dict[str, Replay] = {}
            for multiple in given.multiples:
                group = live.Group(family, entry, multiple)
                if group.key() not in have:
                    lines.append(path, replaying.run(pooled, group, size[family], ready))
            say(f"{family}: {entry.strategy} {entry.verifier}")


def check(given: argparse.Namespace) -> None:
    """One problem of each family and seed, at two budgets."""
    engine, size, path = load(given), units(given), given.out / "check.jsonl"
    todo = {family: cells(family, 1) for family in given.families}
    found = []
    for family, pooled in replaying.load(given.out / "pool.jsonl", todo).items():
        for entry in parts.replayed():
            if entry.strategy.endswith(parts.SIDE_BY_SIDE):
                continue
            for multiple in CHECKED:
                group = live.Group(family, entry, multiple)
                found += checking.compare(engine, pooled, group, size[family], todo[family])
    lines.write(path, (one._asdict() | {"same": one.is_same} for one in found))
    say(f"{sum(one.is_same for one in found)} of {len(found)} are the same")


def report(given: argparse.Namespace) -> None:
    """The page, its plots and its data, from raw results or, where there are none, from what is committed."""
    facts = gathered(given)
    raw = [*lines.read_all(given.out, "replayed.jsonl"), *lines.read_all(given.out, "live*.jsonl")]
    data = [comparing.compact(line) for line in raw] or lines.read(HERE / "strategies.jsonl")
    means = {family: unit.mean for family, unit in facts.units.items()}
    found = comparing.Results({live.key_of(line): line for line in data}, tuple(means), means)
    lines.write(HERE / "strategies.jsonl", data)
    _plots(found)
    page_path = HERE / "STRATEGIES.md"
    page_path.write_text(page.render(found, claims.findings(found, given.head), facts))
    say(f"written to {page_path}")


def gathered(given: argparse.Namespace) -> page.Facts:
    """What is known of the run beside its results; kept, so that parts of it can be measured anew."""
    path = HERE / "strategies.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    now = [*describe()[:2], f"{time.strftime('%Y-%m-%d')}."]
    if (given.out / "units.json").exists():
        known |= {"units": json.loads((given.out / "units.json").read_text()), "machine": now}
        known |= {"problems": given.problems, "remarks": given.remark}
    if compared := lines.read(given.out / "check.jsonl"):
        known["check"] = checking.summary(compared)
    if costs := lines.read(given.out / "overhead.jsonl"):
        known |= {"overhead": costs, "overhead_machine": now}
    path.write_text(json.dumps(known, indent=1) + "\n")
    units = {family: Unit(**unit) for family, unit in known.pop("units").items()}
    outside = [overhead.Cost(**cost) for cost in known.pop("overhead", [])]
    return page.Facts(units, seeds=SEEDS, overhead=outside, **known)


def _plots(found: comparing.Results) -> None:
    verifiers = sorted({key[2] for key in found.lines} - set(parts.FREE) - {""})
    panels = {"without a verifier": plots.curves(found, "")}
    panels |= {name: plots.curves(found, name) for name in verifiers}
    plots.draw(HERE / page.PLOTS[0], panels)
    alone = {family: dataclasses.replace(found, families=(family,)) for family in found.families}
    by_family = {name: plots.curves(own, parts.ORACLES[0]) for name, own in alone.items()}
    plots.draw(HERE / page.PLOTS[1], by_family)


def measure_overhead(given: argparse.Namespace) -> None:
    """Every strategy alone on the machine, and on larger models: run it when nothing else does."""
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        models = {given.model: given.model}
        for size in ((LAYERS, WIDTH), LARGE):
            padded = Path(folder, str(size[0]))
            padded.mkdir()
            params = pad(locate(given.model), padded, *size)
            models[f"{params / 1e6:.0f}M parameters"] = str(padded)
        for name, model in models.items():
            backend = load(argparse.Namespace(model=model)).main.backend
            gc.collect()
            gc.freeze()  # as `serve` does: 0.1 s of looking through torch would fall on whoever comes next
            for strategy, config in overhead.configs().items():
                if not given.only or strategy in given.only:
                    costs.append(
                        overhead.cost(backend, strategy, config, given.families[0], given.problems, name)
                    )
                    share = f"engine {costs[-1].engine:.1%} of the forward"
                    say(f"{name}, {strategy}: {share}, positions {costs[-1].positions:.3f}")
    lines.write(given.out / "overhead.jsonl", (cost._asdict() for cost in costs))


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def main() -> None:
    given = arguments()
    until = time.time() + 60 * given.minutes
    does: dict[str, Callable[[], object]] = {
        "units": lambda: say(str(units(given))),
        "pool": lambda: record(given),
        "sweep": lambda: sweep(given, until),
        "replay": lambda: replay(given),
        "check": lambda: check(given),
        "report": lambda: report(given),
        "overhead": lambda: measure_overhead(given),
    }
    for step in given.steps:
        does[step]()


if __name__ == "__main__":
    main()
