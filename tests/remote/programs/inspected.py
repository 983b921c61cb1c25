"""A task for inspect-ai: `inspect eval inspected.py -T data=FILE.jsonl`; a line has `prompt` and `answer`."""

from __future__ import annotations

import json
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import pattern
from inspect_ai.solver import generate


@task
def sums(data: str) -> Task:
    """Ask, and look for the number after `A:`."""
    rows = [json.loads(line) for line in Path(data).read_text().splitlines()]
    samples = [Sample(input=row["prompt"], target=row["answer"]) for row in rows]
    return Task(MemoryDataset(samples), solver=generate(), scorer=pattern(r"A: *(-?[0-9]+)"))
