"""Measure an exported model on the test split: greedy, one sample, pass@k; by family and level.

python recipes/evaluate.py --model src/outthink/weights/pocket --problems 100 --samples 32 --out result.json
"""

from __future__ import annotations

import argparse
import json
import time
from math import sqrt
from pathlib import Path

import torch
from data import FAMILIES, tokenizer_in
from export import load as load_model
from sampler import Sampler

from outthink.bench.tasks import load
from outthink.core.problem import Problem, Task


def wilson(right: float, number: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    p, square = right / number, z * z / number
    half = z * sqrt(p * (1 - p) / number + square / (4 * number))
    return max(0.0, (p + square / 2 - half) / (1 + square)), min(1.0, (p + square / 2 + half) / (1 + square))


def share(right: int, number: int) -> dict[str, object]:
    """A share with its interval."""
    low, high = wilson(right, number)
    return {
        "right": right,
        "of": number,
        "share": round(right / number, 4),
        "wilson": [round(low, 4), round(high, 4)],
    }


def final(text: str) -> str | None:
    """The text after the last line that starts with `A:`."""
    lines = [line[2:].strip() for line in text.split("\n") if line.startswith("A:")]
    return lines[-1] if lines else None


def verdicts(
    sampler: Sampler, task: Task, problems: list[Problem], temperature: float, limit: int
) -> list[bool]:
    """Whether one try at each problem is right; tries are batched in order of prompt length."""
    order = sorted(range(len(problems)), key=lambda i: len(problems[i].prompt))
    out = [False] * len(problems)
    for start in range(0, len(order), 256):
        chunk = order[start : start + 256]
        texts = sampler.texts([problems[i].prompt for i in chunk], temperature, limit)
        for i, text in zip(chunk, texts, strict=True):
            out[i] = task.check(problems[i], final(text))
    return out


def measure(sampler: Sampler, family: str, level: int, opts: argparse.Namespace) -> dict[str, object]:
    """One family at one level. The single sample is the first of the `samples` of each problem."""
    task = load(family, level=level)
    problems = [task.problem("test", i) for i in range(opts.problems)]
    limit = 80 + 2 * max(len(sampler.tokenizer.encode(p.secret.solution).ids) for p in problems)
    greedy = verdicts(sampler, task, problems, 0.0, limit)
    first = problems[: opts.deep]
    many = [p for p in first for _ in range(opts.samples)]
    drawn = verdicts(sampler, task, many, 0.8, limit) if many else []
    single = verdicts(sampler, task, problems[opts.deep :], 0.8, limit) if opts.deep < len(problems) else []
    each = [drawn[k * opts.samples : (k + 1) * opts.samples] for k in range(len(first))]
    record = {
        "family": family,
        "level": level,
        "greedy": share(sum(greedy), len(greedy)),
        "sample": share(sum(e[0] for e in each) + sum(single), len(each) + len(single)),
    }
    if each:
        record["mean_sample"] = round(sum(map(sum, each)) / len(drawn), 4)
        record[f"pass@{opts.samples}"] = share(sum(any(e) for e in each), len(each))
    return record


def options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="exported folder")
    parser.add_argument("--problems", type=int, default=100, help="test problems of each family and level")
    parser.add_argument("--deep", type=int, default=50, help="how many of them get --samples samples")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--levels", nargs="*", type=int, default=list(range(1, 9)))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure and print one JSON line per family and level."""
    opts = options()
    torch.set_num_threads(opts.threads)
    sampler = Sampler(load_model(opts.model), tokenizer_in(opts.model))
    records, start = [], time.monotonic()
    for family in opts.families:
        for level in opts.levels:
            records.append(measure(sampler, family, level, opts))
            print(json.dumps(records[-1]), f"{time.monotonic() - start:.0f} s", flush=True)
            if opts.out:
                opts.out.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
