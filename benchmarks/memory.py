"""Cache of 64 branches on one prompt: slots of the allocator, tensors, and the memory of the process."""

from __future__ import annotations

import gc
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import outthink as ot
from benchmarks.contest import Work
from benchmarks.ours import local, request
from benchmarks.prompts import Prompts
from benchmarks.report import Section, Target
from outthink.engine.admission import LEAST, LOOKAHEAD
from outthink.engine.engine import Engine
from outthink.engine.trace import PassInfo, Trace


@dataclass(frozen=True)
class Peak:
    """The most that was held at one time; slots, bytes."""

    wanted: int  # prompt + tails, all that was written
    allocated: int
    worst: float  # allocated / slots with cache in them, at the worst moment after the first tails of 16
    store: int  # slots of the tensors
    tensor_bytes: int
    resident: int | None  # growth of the process, from /proc


class Slots(Trace):
    """Watches the allocator after every pass."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.allocated, self.worst, self.passes = 0, 0.0, 0

    def passed(self, info: PassInfo) -> None:
        assert self.engine is not None
        used = self.engine.main.tree.slots.used
        self.passes += 1
        self.allocated = max(self.allocated, used)
        if self.passes > 16:
            self.worst = max(self.worst, used / max(info.cache_used, 1))


def probe(branches: int, length: int, new: int) -> Peak:
    """Run in a process of its own, whose memory nothing else uses."""
    lm = ot.load("pocket", threads=1)
    prompts = Prompts(lm.main.tokenizer)
    lm.run(request(Work(prompts.long(length), 1, 2)))
    backend = local(lm.main)
    backend.store = backend.model.new_store(0)
    gc.collect()
    trace = Slots()
    engine = trace.engine = Engine(backend, trace=trace)
    prompt = prompts.long(length)
    before = _resident("VmRSS", reset=True)
    answer = engine.run(request(Work(prompt, branches, new)))
    after = _resident("VmHWM")
    assert answer.receipt is not None
    wanted = len(prompt.tokens) + answer.receipt.actual.written
    resident = None if before is None or after is None else after - before
    store = backend.store
    return Peak(wanted, trace.allocated, trace.worst, store.slots, store.bytes, resident)


def _resident(field: str, reset: bool = False) -> int | None:
    """Bytes from /proc/self/status; `reset` begins a new high-water mark."""
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in path.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def measure(branches: int = 64, length: int = 512, new: int = 100) -> Section:
    """The peak with all branches."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peak = pool.apply(probe, (branches, length, new))
    slot = peak.tensor_bytes / peak.store
    copies = branches * (length + new)
    mib = 2**20
    section = Section(
        "Cache memory",
        ["", "slots", "MiB", "of prompt + tails"],
        before=[f"{branches} branches of {new} tokens on a prompt of {length}, float32."],
    )

    def row(name: str, slots: float) -> None:
        section.rows.append([name, f"{slots:.0f}", f"{slots * slot / mib:.1f}", f"{slots / peak.wanted:.2f}"])

    row("prompt + tails", peak.wanted)
    row("allocated at peak", peak.allocated)
    row("tensors", peak.store)
    if peak.resident is not None:
        row("growth of the process, all of a run's memory in it", peak.resident / slot)
    row("a cache for each branch would be", copies)
    ahead = f"at the worst moment {peak.worst:.2f} times as many were allocated as had cache in them"
    section.after.append(
        f"While tails grow, slots are taken ahead in runs of up to {LOOKAHEAD + LEAST - 1}: {ahead}.\n"
        "When cache is short, only what is needed is taken."
    )
    what = f"{{}} / (prompt + tails), {branches} branches on {length} tokens"
    section.targets += [
        Target(what.format("slots allocated at peak"), peak.allocated / peak.wanted, 1.1, at_least=False),
        Target(what.format("slots of the cache tensors"), peak.store / peak.wanted, 1.1, at_least=False),
    ]
    return section
