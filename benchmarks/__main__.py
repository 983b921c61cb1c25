"""All benchmarks in one run, written to RESULTS.md.

python -m benchmarks [--model pocket] [--threads 2 1] [--rounds 5] [--out benchmarks/RESULTS.md] [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

import outthink as ot
from benchmarks import gpu, memory, overhead, positions, report, speed
from benchmarks import llama_cpp_rival as llama
from benchmarks.machine import Watch, describe
from benchmarks.ours import local
from benchmarks.padded import pad
from benchmarks.prompts import Prompts
from benchmarks.theirs import Transformers
from outthink.backends.load import locate

HERE = Path(__file__).resolve().parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="pocket", help="an embedded model or a plain Llama directory")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=sorted({os.cpu_count() or 1, 1}, reverse=True)
    )
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=list(speed.FILES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("--remark", action="append", default=[], help="a line for the top of the results")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    return parser.parse_args()


def lines(given: argparse.Namespace, judged: bool) -> list[speed.Line]:
    """What is written in the contest; short work is done more often. Less where no target is."""
    rounds, new = (1, 8) if given.quick else (given.rounds if judged else max(3, given.rounds // 2), 100)
    most = 8 if given.quick else 64
    found = [
        speed.Line(1, greedy=True, rounds=2 * rounds, new=new),
        speed.Line(1, rounds=2 * rounds, new=new),
        speed.Line(16, rounds=rounds, new=new),
        speed.Line(most, rounds=rounds, new=new),
    ]
    return [*found, speed.Line(16, stops=True, rounds=rounds, new=2 * new)] if judged else found


def load(given: argparse.Namespace, folder: Path) -> list[speed.Bench]:
    """A bench for every number of threads and dtype."""
    directory = locate(given.model)
    if not llama.missing():
        speed.export_all(directory, folder)
    networks = {dtype: Transformers.load(directory, dtype) for dtype in given.dtypes}
    benches: list[speed.Bench] = []
    for threads in given.threads:
        for dtype in given.dtypes:
            engine = ot.load(
                given.model, dtype=dtype, threads=threads
            )  # weights are laid out for the threads
            prompts = benches[0].prompts if benches else Prompts(engine.main.tokenizer)
            benches.append(speed.Bench(dtype, threads, engine, networks[dtype], prompts, folder))
    return benches


def main() -> None:
    given = arguments()
    watch, began = Watch(), time.perf_counter()
    sections: list[report.Section] = []
    on_a_gpu = report.kept(given.out, gpu.TITLE)  # of a run elsewhere
    machine = [
        *describe(),
        f"Threads: {', '.join(map(str, given.threads))}; targets are judged at {given.threads[0]}.",
    ]
    missing = llama.missing()
    machine.append(f"llama.cpp is left out: {missing}." if missing else f"llama.cpp: {llama.system_info()}.")

    def say(text: str) -> None:
        print(f"{time.perf_counter() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    def save() -> None:
        ran = f"The run took {(time.perf_counter() - began) / 60:.1f} minutes."
        text = report.render([*machine, ran, *watch.lines()], sections, given.remark)
        report.write(given.out, f"{text}\n{on_a_gpu}\n" if on_a_gpu else text)

    with tempfile.TemporaryDirectory() as folder:
        benches = load(given, Path(folder))
        first = [bench for bench in benches if bench.threads == given.threads[0]]
        engines = {bench.dtype: bench.engine for bench in first}
        padded = Path(folder) / "padded"
        pad(locate(given.model), padded)
        prompts, rounds = first[0].prompts, 1 if given.quick else given.rounds
        new = 16 if given.quick else 100
        parts: dict[str, Callable[[], report.Section]] = {
            "tokens per second": lambda: speed.measure(first, lines(given, True), True, watch),
            "concurrent requests": lambda: speed.concurrency(first, padded, rounds, new=new),
            "time outside the forward": lambda: overhead.measure(
                engines, prompts, rounds if given.quick else 3 * rounds, 2 * new if given.quick else new
            ),
            "positions": lambda: positions.measure(local(first[0].engine.main), 4 if given.quick else 16),
            "memory": memory.measure,
        }
        for threads in given.threads[1:]:
            more = [bench for bench in benches if bench.threads == threads]
            parts[f"tokens per second, {threads} thread(s)"] = partial(
                speed.measure, more, lines(given, False), False, watch
            )
        for name, part in parts.items():
            say(name)
            torch.set_num_threads(given.threads[0])
            with watch.section(name):
                section = part()
            sections.append(section)
            save()
    say(f"written to {given.out}")


if __name__ == "__main__":
    main()
