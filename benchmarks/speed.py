"""Tokens per second beside transformers and llama.cpp: a greedy stream, branches, concurrent requests."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

import outthink as ot
from benchmarks import llama_cpp_rival as llama
from benchmarks.contest import Ratio, Rival, Score, Work, contest
from benchmarks.machine import Watch
from benchmarks.ours import Ours, local, request
from benchmarks.prompts import Prompt, Prompts
from benchmarks.report import Section, Target
from benchmarks.theirs import Transformers
from outthink.core.batch import Batch, Segment
from outthink.engine.engine import Done, Engine

FILES = {"float32": ("float32",), "bfloat16": ("float16", "bfloat16")}  # what llama.cpp may run instead
CLOSE, ROUGH = (
    1e-3,
    0.1,
)  # logits may differ by so much: in float32 throughout, and with 16-bit weights or cache
TRANSFORMERS = {("float32", 16): 2.5, ("float32", 64): 4.0, ("bfloat16", 16): 2.0, ("bfloat16", 64): 2.5}
GREEDY, LLAMA, ONE_STREAM = 1.8, 2.0, 1.0
INTRODUCTION = """From a prompt of 200 tokens, a new one each round; time from request to result, prompt
included. Tokens per second are total tokens over total seconds; a ratio is the median over rounds of ours
to theirs, with the lowest and the highest round. Temperature 0.8, no truncation, end of text ignored, so
that all write equally much; but with *natural ends* (on plain problems) everybody stops where the model
does. outthink runs `vote` through the whole engine, with votes and receipts. transformers:
`generate(num_return_sequences=n)`. llama.cpp: `llama_decode` over all branches, a sampler chain each; for
bfloat16 the faster of float16 and bfloat16 weights. Its settings were tried beforehand, and the fastest
taken. *Others*: cores that other processes took meanwhile."""


@dataclass(frozen=True)
class Line:
    """One row of the table: what is written, and how often."""

    branches: int
    greedy: bool = False
    stops: bool = False
    rounds: int = 5
    new: int = 100

    def __str__(self) -> str:
        if self.greedy:
            return "1 greedy"
        return f"{self.branches} sampled" + (", natural ends" if self.stops else "")


@dataclass
class Bench:
    """Everything that is loaded once for a dtype and a number of threads."""

    dtype: str
    threads: int
    engine: Engine
    network: Transformers
    prompts: Prompts
    folder: Path  # of GGUF files
    best: dict[int, llama.Setting] = field(default_factory=dict)  # by branches

    def files(self) -> list[Path]:
        return [self.folder / f"{name}.gguf" for name in FILES[self.dtype]]


def export_all(directory: Path, folder: Path) -> None:
    """GGUF files of the same weights in every dtype."""
    from benchmarks.gguf_export import export  # its library is not there where llama.cpp is not

    for name in sorted({name for names in FILES.values() for name in names}):
        export(directory, folder / f"{name}.gguf", name)


def our_logits(engine: Engine, tokens: list[int]) -> torch.Tensor:
    """[tokens, vocab] of the lean forward, outside of the engine."""
    n = len(tokens)
    batch = Batch(tokens, list(range(n)), list(range(n)), [0] * n, list(range(1, n + 1)), list(range(n)))
    batch.segments = [Segment(-1, 0, n)]
    model = local(engine.main).model
    return model.forward(batch, model.new_store(n)).float()


def check(bench: Bench) -> list[str]:
    """Do all compute the same? AssertionError if not; else by how much logits differ, in words."""
    prompt = bench.prompts.long(200).tokens
    ours = our_logits(bench.engine, prompt)
    found = {"transformers": (bench.network.logits(prompt), CLOSE if bench.dtype == "float32" else 1.0)}
    if not llama.missing():
        for file in bench.files():
            wide = file.stem == "float32"
            rival = llama.LlamaCpp(llama.Setting(file, is_half=not wide), bench.threads)
            found[f"llama.cpp ({file.stem})"] = (
                torch.from_numpy(rival.logits(prompt)),
                CLOSE if wide else 1.0,
            )
            rival.close()
    said = []
    for name, (logits, allowed) in found.items():
        worst, agree = _difference(ours, logits)
        assert worst <= allowed, (
            f"{name}, {bench.dtype}: logits differ by {worst:.3g}, at most {allowed} is allowed"
        )
        said.append(f"{name} {worst:.1e} ({agree:.0%} same argmax)")
    return said


def _difference(a: torch.Tensor, b: torch.Tensor) -> tuple[float, float]:
    """The largest difference, and the share of rows with the same likeliest token."""
    return (a - b).abs().max().item(), (a.argmax(-1) == b.argmax(-1)).float().mean().item()


@contextmanager
def fastest(bench: Bench, branches: int, eos: int) -> Iterator[llama.LlamaCpp | None]:
    """llama.cpp with the settings that are fastest for so many branches; None where it is missing."""
    if llama.missing():
        yield None
        return
    if branches not in bench.best:
        bench.best[branches] = _best_setting(bench, branches)
    chosen = llama.LlamaCpp(bench.best[branches], bench.threads)
    chosen.eos = eos
    try:
        yield chosen
    finally:
        chosen.close()


def _best_setting(bench: Bench, branches: int) -> llama.Setting:
    """Try all settings on a little work, once it has run."""
    work = Work(bench.prompts.long(200), branches, 16 if branches > 1 else 64)
    times: dict[llama.Setting, float] = {}
    for setting in llama.settings(bench.files(), branches):
        rival = llama.LlamaCpp(setting, bench.threads)
        rival.write(work)
        times[setting] = _seconds(partial(rival.write, work))
        rival.close()
    return min(times, key=lambda setting: times[setting])


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(benches: list[Bench], lines: list[Line], judged: bool, watch: Watch) -> Section:
    """The contest, line by line."""
    section = Section(
        f"Tokens per second, {_threads(benches[0].threads)}",
        ["dtype", "branches", "outthink", "transformers", "ratio", "llama.cpp", "ratio", "others"],
        before=[INTRODUCTION] if judged else [],
    )
    notes: list[str] = []
    for bench in benches:
        differ = ", ".join(check(bench))
        notes.append(f"{bench.dtype}, largest difference of logits: {differ}.")
        for line in lines:
            print(f"         {bench.dtype}, {line}", file=sys.stderr, flush=True)
            _measure_line(bench, line, section, notes, judged, watch)
    section.after += ["\n".join(f"- {note}" for note in notes)]
    if llama.missing():
        section.before.append(f"**There is no llama.cpp column: {llama.missing()}.**")
    return section


def _threads(count: int) -> str:
    return f"{count} threads" if count > 1 else "1 thread"


def _measure_line(
    bench: Bench, line: Line, section: Section, notes: list[str], judged: bool, watch: Watch
) -> None:
    torch.set_num_threads(bench.threads)
    ours = Ours(bench.engine)
    rivals: list[Rival] = [ours, bench.network]
    with fastest(bench, line.branches, bench.network.eos) as rival:
        if rival is not None:
            rivals.append(rival)

        def work(turn: int) -> Work:
            prompt = bench.prompts.problem() if line.stops else bench.prompts.long(200)
            return Work(prompt, line.branches, line.new, line.greedy, line.stops, seed=turn)

        where = f"{bench.dtype}, {_threads(bench.threads)}, {line}"
        with watch.section(where):
            scores = contest(rivals, line.rounds, work)
        if rival is not None:
            inside = f"{rival.decode_seconds / rival.seconds:.0%} of its time in llama_decode"
            notes.append(
                f"{bench.dtype}, {bench.threads} threads, {line}: llama.cpp with {rival.setting}; {inside}."
            )
    section.rows.append([*_cells(bench, line, scores), f"{watch.others[where]:.2f}"])
    if judged and not line.stops:
        section.targets += _targets(bench.dtype, line, scores)


def _cells(bench: Bench, line: Line, scores: dict[str, Score]) -> list[str]:
    cells = [bench.dtype, str(line), f"{scores[Ours.name].rate:.0f}"]
    for name in (Transformers.name, llama.LlamaCpp.name):
        if name in scores:
            cells += [f"{scores[name].rate:.0f}", str(Ratio.of(scores[Ours.name], scores[name]))]
        else:
            cells += ["-", "-"]
    return cells


def _targets(dtype: str, line: Line, scores: dict[str, Score]) -> list[Target]:
    found = []
    ours, n = scores[Ours.name], line.branches
    least = GREEDY if line.greedy and dtype == "float32" else TRANSFORMERS.get((dtype, n))
    if least is not None:
        over = Ratio.of(ours, scores[Transformers.name]).median
        found.append(Target(f"{line}, {dtype}: over transformers", over, least))
    theirs = scores.get(llama.LlamaCpp.name)
    ratio = Ratio.of(ours, theirs).median if theirs else None
    found.append(Target(f"{line}, {dtype}: over llama.cpp", ratio, LLAMA if n > 1 else ONE_STREAM))
    return found


CONCURRENCY = """Each writes {new} tokens on one branch after its own prompt: a problem of `steps` as it is,
39 to 67 tokens, or several cut to 200. Cold cache; prompts are read in any case, 8 have 8 times the rows.
*80M* is the same model padded to 80M parameters (`benchmarks/padded.py`): one stream of it waits for memory.
One of `pocket`, whose weights stay in the cache, does not, and 8 have 8 times its arithmetic."""


def concurrency(
    benches: list[Bench], padded: Path, rounds: int = 5, many: int = 8, new: int = 100
) -> Section:
    """Requests with different prompts at once, against one alone, on the model and on a larger one."""
    section = Section(
        "Concurrent requests",
        ["model", "dtype", "prompt", "1 request, tokens/s", f"{many} requests, tokens/s", "ratio"],
        before=[CONCURRENCY.format(new=new)],
    )
    for bench in benches:
        larger = ot.load(str(padded), dtype=bench.dtype, threads=bench.threads)
        for model, engine in ((bench.engine.main.backend.about.label, bench.engine), ("80M", larger)):
            torch.set_num_threads(bench.threads)
            for name, prompt in (("problem", bench.prompts.problem), ("200 tokens", _of_200(bench.prompts))):
                one, all_of_them = _concurrent(engine, prompt, rounds, many, new)
                ratio = Ratio.of(all_of_them, one)
                section.rows.append([
                    model, bench.dtype, name, f"{one.rate:.0f}", f"{all_of_them.rate:.0f}", str(ratio),
                ])  # fmt: skip
                what = f"{many} concurrent requests over one, {model}, {bench.dtype}, prompt: {name}"
                section.targets.append(Target(what, ratio.median, 3.0))
    return section


def _of_200(prompts: Prompts) -> Callable[[], Prompt]:
    return lambda: prompts.long(200)


def _concurrent(
    engine: Engine, prompt: Callable[[], Prompt], rounds: int, many: int, new: int
) -> tuple[Score, Score]:
    """One request alone and so many at once, in turn; the first round only warms."""
    one, all_of_them = Score(), Score()
    for turn in range(rounds + 1):
        for score, count in ((one, 1), (all_of_them, many)):
            works = [request(Work(prompt(), 1, new, seed=turn)) for _ in range(count)]
            began = time.perf_counter()
            ended = list(engine.map(works, concurrency=many))
            seconds = time.perf_counter() - began
            written = sum(_written(done) for done in ended)
            assert written == count * new, f"{written} tokens written by {count} requests"
            if turn:
                score.tokens.append(written)
                score.seconds.append(seconds)
    return one, all_of_them


def _written(done: Done) -> int:
    """Tokens that a request wrote. AssertionError with its error if it failed."""
    assert done.answer is not None and done.answer.receipt is not None, done.error
    return done.answer.receipt.actual.written
