"""`map`: a strategy over a whole dataset, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from outthink import spec
from outthink.cli.options import Mapping, takes
from outthink.cli.output import console, emit
from outthink.core.errors import BadInput

if TYPE_CHECKING:
    from outthink.bench.mapping import Counts


@takes(Mapping)
def map(options: Mapping) -> None:
    """Answer every line of a file; killed at any time, the same command goes on.

    \b
      outthink map questions.jsonl --out runs/answers --strategy "vote(n=8)"
      outthink map gsm8k.jsonl --prompt question --model http://host:8000/v1#model --parquet
    """
    counts, files = run_map(options)
    if options.json:
        emit(counts._asdict() | {"files": files})
        return
    out = console()
    out.print(
        f"{counts.done} of {counts.lines} lines done, {counts.failed} failed, {counts.written:,} tokens"
    )
    for path in files.values():
        out.print(str(path), soft_wrap=True, markup=False)


def run_map(options: Mapping) -> tuple[Counts, dict[str, Any]]:
    """Run to the end, and export. What the options get wrong is said before a model is loaded."""
    from outthink.bench.dataset import Dataset
    from outthink.bench.journal import Journal, need_parquet
    from outthink.bench.mapping import Mapping as Plan

    if options.concurrency < 1:
        raise BadInput(f"concurrency={options.concurrency}: give at least 1")
    if not options.file:
        raise BadInput("give a file of JSON lines: outthink map questions.jsonl --out runs/answers")
    if options.parquet:
        need_parquet()
    strategy = spec.parse_one(options.strategy)
    dataset = Dataset(options.file, options.prompt, options.reference)
    plan = Plan(strategy.part, strategy.name, dataset, options.caps(), options.sampling(), options.seed)
    for _ in dataset:  # a line that is wrong is said before a token is spent
        pass
    folder = Path(options.out)
    with Journal(folder, _config(options, strategy.name)) as journal:
        engine = options.load()
        try:
            counts = plan.run(engine, journal, options.concurrency, _Shown())
        finally:
            engine.close()
            files = {"results": folder / "results.jsonl"}
            journal.export(files["results"])
        if options.parquet:
            files["parquet"] = folder / "results.parquet"
            journal.export_parquet(files["parquet"])
    return counts, files


def _config(options: Mapping, strategy: str) -> dict[str, Any]:
    """What another answer would follow from."""
    return {
        "strategy": strategy,
        "model": options.model,
        "seed": options.seed,
        "budget": options.caps().caps(),
        "sampling": spec.show(options.sampling()),
        "prompt": options.prompt,
        "reference": options.reference,
        "dtype": options.dtype,
        **({"deterministic": True} if options.deterministic else {}),
    }


class _Shown:
    """A line on stderr that is written over, where stderr is a terminal."""

    def __init__(self) -> None:
        self.out = console(as_json=True)

    def __call__(self, counts: Counts) -> None:
        if self.out.is_terminal:
            dollars = f"  ${counts.dollars:.4f}" if counts.dollars else ""
            told = f"{counts.done}/{counts.lines} done  {counts.failed} failed  {counts.written:,} tokens"
            self.out.print(told + dollars, end="\r", markup=False)
