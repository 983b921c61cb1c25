"""Extraction and equivalence on public data: every reference, and the accuracies of four recorded systems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from outthink.text import canonical, classes, equivalent, final_answer


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with path.open() as lines:
        return [json.loads(line) for line in lines]


def test_every_gsm8k_reference_is_a_number_that_equals_itself(data_dir: Path) -> None:
    rows = _rows(data_dir / "gsm8k" / "test.jsonl")
    assert len(rows) == 1319
    for row in rows:
        reference = row["answer"].partition("#### ")[2]
        assert final_answer(row["answer"]).value == reference
        assert equivalent(reference, reference)
        key = canonical(reference)
        assert key is not None and key.startswith("number:"), reference


def test_every_math500_reference_is_found_in_its_box_and_equals_itself(data_dir: Path) -> None:
    rows = _rows(data_dir / "math500" / "test500.jsonl")
    assert len(rows) == 500
    for row in rows:
        reference = row["answer"]
        assert final_answer(rf"Hence $\boxed{{{reference}}}$.").value == reference
        assert equivalent(reference, reference)
        assert equivalent(final_answer(row["solution"]).value, reference), row["solution"][-200:]


def test_math500_references_are_the_same_only_where_they_should_be(data_dir: Path) -> None:
    references = sorted({row["answer"] for row in _rows(data_dir / "math500" / "test500.jsonl")})
    groups: dict[int | None, list[str]] = {}
    for reference, index in zip(references, classes(references), strict=True):
        groups.setdefault(index, []).append(reference)
    assert None not in groups
    assert sorted(group for group in groups.values() if len(group) > 1) == [
        ["-2,1", "1,-2"],
        ["10,\\!080", "10080"],
        ["120", "120^\\circ"],
        ["15", "15\\mbox{ cm}^2"],
        ["2 \\sqrt{5}", "2\\sqrt{5}"],
        ["30", "30^\\circ"],
        ["36", "36^\\circ", "\\$36"],
        ["5", "x=5"],
        ["90", "90^\\circ"],
        ["\\frac14", "\\frac{1}{4}"],
    ]


SYSTEMS = {
    "6b_finetuning": 21.68,
    "6b_verification": 39.04,
    "175b_finetuning": 34.72,
    "175b_verification": 56.25,
}


def test_recorded_systems_have_their_published_accuracy(data_dir: Path) -> None:
    rows = _rows(data_dir / "gsm8k" / "example_model_solutions.jsonl")
    right = {system: [_is_right(row, system) for row in rows] for system in SYSTEMS}
    for system, published in SYSTEMS.items():
        assert right[system] == [row[system]["is_correct"] for row in rows], system
        assert round(100 * sum(right[system]) / len(rows), 2) == published
    any_right = sum(map(any, zip(*right.values(), strict=True)))
    assert round(100 * any_right / len(rows), 1) == 67.2


def _is_right(row: dict[str, Any], system: str) -> bool:
    return equivalent(final_answer(row[system]["solution"]).value, final_answer(row["ground_truth"]).value)
