"""One forward pass of the lean model against transformers, side by side in the same run.

    python benchmarks/forward.py [--threads N] [--repeats N] [--clock cpu] [--directory MODEL]

A decode step over branches of one prompt of 200 tokens, each with 64 tokens of its own: ms per pass at 1, 4,
16 and 64 rows, with the share of time in matrices and attention. transformers evaluates the same rows as a
batch with a cache of 264 tokens each. Rivals take turns, and the medians are compared, because other work on
the machine slows both. On a busy machine `--threads 1 --clock cpu` counts the time on the core instead of the
time on the wall. Without --directory: random weights of 4.7M parameters.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.profiler import ProfilerActivity, profile

from outthink.core.batch import Batch, Segment
from outthink.models.loader import load_model

PROMPT, TAIL, GAP = 200, 64, 80
POCKET = {
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}


def branches(rows: int) -> Batch:
    """The last token of each branch, all logits wanted."""
    batch = Batch(segments=[Segment(-1, 0, PROMPT)])
    for row in range(rows):
        start = PROMPT + row * GAP
        batch.segments.append(Segment(0, start, TAIL))
        batch.tokens.append(row)
        batch.positions.append(PROMPT + TAIL - 1)
        batch.slots.append(start + TAIL - 1)
        batch.segment.append(row + 1)
        batch.visible.append(TAIL)
        batch.wanted.append(row)
    return batch


def ours(model: Any, rows: int) -> Callable[[], object]:
    """A pass of the lean model."""
    batch, store = branches(rows), model.new_store(PROMPT + rows * GAP)
    store.data.normal_()
    return lambda: model.forward(batch, store)


def theirs(network: Any, rows: int) -> Callable[[], object]:
    """A decode step of transformers with the same number of rows and tokens in the cache."""
    cache = transformers.DynamicCache()
    with torch.inference_mode():
        network(
            torch.zeros(rows, PROMPT + TAIL - 1, dtype=torch.long), past_key_values=cache, logits_to_keep=1
        )
    token = torch.zeros(rows, 1, dtype=torch.long)

    def step() -> None:
        with torch.inference_mode():
            network(token, past_key_values=cache)
        cache.crop(-1)

    return step


def median_ms(rivals: list[Callable[[], object]], repeats: int, clock: Callable[[], float]) -> list[float]:
    """Median milliseconds of each, taking turns."""
    times: list[list[float]] = [[] for _ in rivals]
    for turn in range(repeats + 3):
        for rival, seen in zip(rivals, times, strict=True):
            begin = clock()
            rival()
            if turn >= 3:
                seen.append(1e3 * (clock() - begin))
    return [statistics.median(seen) for seen in times]


def shares(step: Callable[[], object]) -> tuple[float, float]:
    """Parts of operator time in matrices and in attention."""
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(10):
            step()
    events = [(event.key, event.self_cpu_time_total) for event in record.key_averages()]
    total = sum(spent for _, spent in events)
    matrices = ("::mm", "::bmm", "::baddbmm_", "::addmm", "_linear_pointwise", "::_int_mm", "::fbgemm_linear")
    linear = sum(spent for key, spent in events if any(name in key for name in matrices))
    attention = sum(spent for key, spent in events if "scaled_dot_product" in key)
    return linear / total, attention / total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.perf_counter if given.clock == "wall" else time.thread_time
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        if given.directory is None:
            given.directory = Path(folder)
            transformers.LlamaForCausalLM(transformers.LlamaConfig(**POCKET)).save_pretrained(folder)
        print(f"threads {given.threads}\n{'dtype':10}{'rows':>5}{'ms':>9}{'rows/s':>9}{'transformers ms':>17}"
              f"{'ratio':>7}{'matrices':>10}{'attention':>11}")  # fmt: skip
        for dtype in given.dtypes:
            model = load_model(given.directory, dtype)
            network = transformers.AutoModelForCausalLM.from_pretrained(
                given.directory, dtype="float32" if dtype == "int8" else dtype
            )
            for rows in (1, 4, 16, 64):
                rivals = [ours(model, rows), theirs(network.eval(), rows)]
                mine, other = median_ms(rivals, given.repeats, clock)
                linear, attention = shares(rivals[0])
                print(f"{dtype:10}{rows:5}{mine:9.3f}{1e3 * rows / mine:9.0f}{other:17.3f}{other / mine:7.2f}"
                      f"{linear:10.0%}{attention:11.0%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
