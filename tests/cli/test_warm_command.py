"""`--warm`: a bench whose drafters go on from problem to problem writes what it writes without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_warm_bench_writes_the_same(outthink: Callable[..., Any], model: str, tmp_path: Path) -> None:
    words = ("bench", "--task", "steps", "--strategies", "greedy", "-n", "3", "--model", model)
    words += ("--max-tokens", "40", "--temperature", "0", "--concurrency", "1", "--dtype", "float64")
    texts, passes = {}, {}
    for name, more in (
        ("plain", ()),
        ("cold", ("--speculate", "trie")),
        ("warm", ("--speculate", "trie", "--warm")),
    ):
        assert outthink(*words, "--out", str(tmp_path / name), *more).code == 0
        lines = [json.loads(line) for line in (tmp_path / name / "results.jsonl").read_text().splitlines()]
        texts[name] = [(line["id"], line["text"]) for line in lines]
        passes[name] = sum(line["receipt"]["actual"]["passes"] for line in lines)
    assert texts["plain"] == texts["cold"] == texts["warm"] and len(texts["warm"]) == 3
    assert passes["warm"] < passes["cold"] < passes["plain"], passes
