"""`map`: a strategy over a whole dataset, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from outthink import spec
from outthink.cli.options import Mapping, one_strategy, takes
from outthink.cli.output import console, emit
from outthink.core.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from outthink.bench.cluster import RayCluster
    from outthink.bench.journal import Journal
    from outthink.bench.mapping import Counts
    from outthink.engine.request import Request


@takes(Mapping)
def map(options: Mapping) -> None:
    """Answer every line of a file; killed at any time, the same command goes on.

    \b
      outthink map questions.jsonl --out runs/answers --strategy "vote(n=8)"
      outthink map gsm8k.jsonl --prompt question --model http://host:8000/v1#model --parquet
      outthink map questions.jsonl --out runs/answers --cluster ray --workers 4 --threads 8 --concurrency 256
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
    if not options.out:
        raise BadInput("--out is empty: name the folder of the journal")
    _check_cluster(options)
    if options.parquet:
        need_parquet()
    strategy = one_strategy(options.strategy)
    dataset = Dataset(options.file, options.prompt, options.reference)
    plan = Plan(strategy.part, strategy.name, dataset, options.caps(), options.sampling(), options.seed)
    for _ in dataset:  # a line that is wrong is said before a token is spent
        pass
    folder = Path(options.out)
    with Journal(folder, _config(options, strategy.name)) as journal:
        engine = _cluster(options, journal) if options.cluster else options.load()
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


def _check_cluster(options: Mapping) -> None:
    if options.cluster is None:
        if options.workers is not None:
            raise BadInput("--workers are those of a cluster: give --cluster ray with it")
        return
    if options.cluster != "ray":
        raise UnknownName("cluster", options.cluster, ["ray"])
    if options.workers is not None and options.workers < 1:
        raise BadInput(f"workers={options.workers}: give at least 1")
    if options.threads is not None and options.threads < 1:
        raise BadInput(f"threads={options.threads}: give at least 1")
    from outthink.bench.cluster import need_ray

    need_ray()


def _cluster(options: Mapping, journal: Journal) -> RayCluster:
    """Engines elsewhere; the journal stays here, and counts what is begun again."""
    from outthink.bench.cluster import RayCluster

    def again(request: Request) -> None:
        journal.begin(request.tag.number, request.tag.mark)

    gpu = (options.device or "").startswith("cuda")
    return RayCluster(options.load, options.workers or 0, options.threads or 1, gpu, again)


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
        **({"parts": parts} if (parts := spec.own_parts()) else {}),
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
