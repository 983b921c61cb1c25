"""What speculation wins, beside plain decoding and transformers: writes SPECULATION.md.

python -m benchmarks.speculation [--threads 2] [--models pocket padded] [--dtype float32] [--out F] [--quick]

*padded* is pocket with layers and MLP units that change nothing (benchmarks/padded.py): 80M parameters, the
texts of pocket, and passes that wait for memory; *large* likewise has 312M, and is measured in part.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import int8_draft, report, stores
from benchmarks.machine import Watch, describe
from benchmarks.padded import LARGE, LAYERS, WIDTH, pad
from benchmarks.speculation import anatomy, passes, scripted, state, strategies, streams, theirs
from benchmarks.speculation.model import Model
from benchmarks.speculation.sizes import FULL, QUICK, Sizes
from outthink.backends.load import locate

HERE = Path(__file__).resolve().parents[1]
HEAD = f"""# Speculation

Written by `python -m benchmarks.speculation`; do not edit. One process, one run; rivals take turns in every
round, at work that is new to all of them; a round before them is not counted. Rates are total tokens over
total seconds, prompt included; in brackets the lowest and the highest round. Every text of a drafted run is
compared with the plain one: a difference ends the benchmark. *Cold*: neither cache nor drafter
knows a text before it begins; the process is warm, and so is what an engine has timed in earlier rounds.

*pocket* has 4.7M parameters, which stay in this machine's cache. *padded* is pocket with {LAYERS} layers in
place of 6 and {WIDTH} MLP units in place of 704; what was added multiplies by zero
(`benchmarks/padded.py`), so that it writes pocket's texts at the cost of 80M parameters: **timing of a
model that waits for memory, texts of pocket.** Draft models are the same for both, and for padded smaller
against the target than they usually are. *large* has {LARGE[0]} layers and {LARGE[1]} MLP units: 312M.
"""
SMALL = ("sample", "vote(n=16)")
TITLES = ("pocket", "padded", "large")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--models", nargs="+", choices=[*TITLES], default=[*TITLES[:2]])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--out", type=Path, default=HERE / "SPECULATION.md")
    parser.add_argument("--remark", action="append", default=[], help="a line for the top of the results")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    return parser.parse_args()


def cells(title: str, quick: bool) -> list[strategies.Cell]:
    """What auto is tried on: everything on pocket; less on padded, whose passes take longer."""
    if quick:
        return strategies.cells(SMALL[:1], (1,), strategies.FAMILIES[:1])
    if title == "pocket":
        return strategies.cells(tuple(strategies.STRATEGIES), (1, 16))
    return strategies.cells(SMALL, (1,)) + strategies.cells(SMALL[:1], (16,))


def sections(model: Model, sizes: Sizes, quick: bool) -> Iterator[report.Section]:
    """All that is measured on a model."""
    gc.freeze()  # a full collection takes 0.1 s and fell on one round of 40, which took ten times as long
    yield streams.vote(model, sizes)
    section, found = streams.measure(model, sizes)
    yield section
    curve = passes.timed(model, sizes.trials)
    if model.title == "large":
        yield passes.measure(model, curve)
        return
    yield from anatomy.measure(model, curve, found[:2], sizes)  # the longer passages say nothing new
    yield passes.measure(model, curve)
    yield theirs.measure(model, sizes)
    if model.title == "pocket":
        yield state.measure(model, sizes)
    yield scripted.measure(model, curve, cells(model.title, quick))
    yield strategies.measure(model, cells(model.title, quick), sizes)
    if model.title == "pocket":
        yield stores.measure(0.1, lookups=20) if quick else stores.measure()
        yield from int8_draft.measure(0.1, 8, 1) if quick else int8_draft.measure()


def main() -> None:
    given = arguments()
    watch, began = Watch(), time.perf_counter()
    done: list[report.Section] = []
    machine = [*describe(), f"{given.dtype} and {given.threads} threads, theirs and ours."]

    def save() -> None:
        ran = f"The run took {(time.perf_counter() - began) / 60:.1f} minutes."
        report.write(given.out, report.render([*machine, ran, *watch.lines()], done, given.remark, HEAD))

    with tempfile.TemporaryDirectory() as folder:
        for title in given.models:
            directory = locate("pocket")
            if title != "pocket":
                directory = Path(folder, title)
                directory.mkdir()
                pad(locate("pocket"), directory, *(LARGE if title == "large" else (LAYERS, WIDTH)))
            model = Model.load(title, directory, given.threads, given.dtype)
            parts = sections(model, QUICK if given.quick else FULL, given.quick)
            with watch.section(title):
                for section in parts:
                    print(
                        f"{time.perf_counter() - began:6.0f} s  {section.title}", file=sys.stderr, flush=True
                    )
                    done.append(section)
                    save()
    save()
    print(f"written to {given.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
