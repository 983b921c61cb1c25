"""v(rows): what a pass takes when one request checks a chain of so many rows, and why."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from benchmarks.report import Section
from benchmarks.speculation.model import Model
from outthink.core.batch import Batch, Segment

ROWS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)
CONTEXT = 200
SMALL = ROWS.index(8) + 1  # sizes that a drafter of a few tokens reaches
MANY = 128  # rows of a pass that is bound by arithmetic
INTRODUCTION = f"""The last row of a context of {CONTEXT} tokens and a chain below it, timed around
`model.forward`, the fastest of many. *Memory*: the bytes of the weights over the bandwidth at which as many
bytes are summed here ({{bandwidth:.0f}} GB/s for {{size:.0f}} MB). *Arithmetic*: 2 operations a weight and
row, at the rate of a pass of {MANY} rows ({{rate:.0f}} GFLOP/s). A pass can take no less than the larger of
the two. *Oracle*: rows x v(1) / v(rows), the speed-up over plain of a drafter that costs nothing and is
always right. No drafter can win more, whatever it knows."""


@dataclass(frozen=True)
class Passes:
    """Seconds of a pass by rows, and the two bounds under it."""

    seconds: Mapping[int, float]
    bandwidth: float  # bytes a second
    rate: float  # operations a second
    bytes: float  # of the weights, as they lie in memory
    params: int

    def at(self, rows: float) -> float:
        """v(rows), linear between what was timed."""
        sizes = sorted(self.seconds)
        i = min(max(bisect_left(sizes, rows), 1), len(sizes) - 1)
        low, high = sizes[i - 1], sizes[i]
        share = (rows - low) / (high - low)
        return (1 - share) * self.seconds[low] + share * self.seconds[high]

    def memory(self) -> float:
        """Seconds that reading the weights takes."""
        return self.bytes / self.bandwidth

    def arithmetic(self, rows: int) -> float:
        """Seconds that the operations take."""
        return 2.0 * self.params * rows / self.rate


def chain(context: int, rows: int) -> Batch:
    """Rows one below the other after a context whose cache lies in slots 0, 1 ... (its content is of no
    matter)."""
    batch = Batch(segments=[Segment(-1, 0, context), Segment(0, context, rows)])
    for row in range(rows):
        batch.tokens.append(3 + row)
        batch.positions.append(context + row)
        batch.slots.append(context + row)
        batch.segment.append(1)
        batch.visible.append(row + 1)
        batch.wanted.append(row)
    return batch


@torch.inference_mode()
def timed(model: Model, trials: int) -> Passes:
    """All sizes in turn, again and again, so that a slow moment hits all of them."""
    network = model.backend.model
    taken: dict[int, list[float]] = {rows: [] for rows in (*ROWS, MANY)}
    store = network.new_store(CONTEXT + MANY)
    for trial in range(trials + 1):
        for rows, seconds in taken.items():
            batch = chain(CONTEXT, rows)
            for _ in range(1 if rows == MANY else 3):
                began = time.perf_counter()
                network.forward(batch, store)
                if trial:
                    seconds.append(time.perf_counter() - began)
    found = {rows: min(seconds) for rows, seconds in taken.items()}
    stored = _bytes(model)
    return Passes(
        {rows: found[rows] for rows in ROWS},
        _bandwidth(stored, trials, model.threads),
        2.0 * model.params * MANY / found[MANY],
        stored,
        model.params,
    )


def _bytes(model: Model) -> float:
    """Native kernels keep numbers that are bfloat16 numbers so, and those of pocket are."""
    each = 2 if "native" in model.backend.kind else 4
    return float(each * model.params)


def _bandwidth(size: float, trials: int, threads: int) -> float:
    """Bytes a second of summing an array of that size, over and over: from cache where it fits."""
    array = torch.ones(int(size) // 4)
    before, best = torch.get_num_threads(), float("inf")
    torch.set_num_threads(threads)
    for _ in range(max(8, 2 * trials)):
        began = time.perf_counter()
        array.sum()
        best = min(best, time.perf_counter() - began)
    torch.set_num_threads(before)
    return array.numel() * 4 / best


def measure(model: Model, passes: Passes) -> Section:
    """The curve beside its bounds."""
    section = Section(
        f"v(rows), {model.title}",
        ["rows", "microseconds", "over one row", "memory", "arithmetic", "oracle"],
        before=[
            INTRODUCTION.format(
                bandwidth=passes.bandwidth / 1e9, rate=passes.rate / 1e9, size=passes.bytes / 1e6
            )
        ],
    )
    for rows, seconds in passes.seconds.items():
        bounds = (passes.memory(), passes.arithmetic(rows))
        section.rows.append([
            str(rows), f"{1e6 * seconds:.0f}", f"{seconds / passes.seconds[1]:.2f}",
            *(f"{1e6 * bound:.0f}" for bound in bounds), f"{rows * passes.at(1) / seconds:.2f}",
        ])  # fmt: skip
    best = max(ROWS[:SMALL], key=lambda rows: rows / passes.seconds[rows])
    most = f"{best * passes.at(1) / passes.at(best):.2f} at {best} rows"
    section.after.append(f"- The most that an oracle wins with up to {ROWS[SMALL - 1]} rows: {most}.")
    eight = ", ".join(
        f"{rows * passes.at(8) / (8 * passes.at(rows)):.2f} with {rows}" for rows in (16, 24, 32)
    )
    section.after.append(f"- The same over 8 distinct rows, as 8 branches that have parted: {eight}.")
    return section
