"""Problems from local files: what is read, what is refused, what counts as right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("outthink.text")

from outthink.bench.tasks import load  # noqa: E402

WORD = {"question": "2 apples and 3?", "answer": "He has 2+3=<<2+3=5>>5 apples.\n#### 1,205"}
PROOF = {"problem": "What is half?", "solution": "It is $\\boxed{\\frac{1}{2}}$.", "answer": "\\frac{1}{2}"}


def write(path: Path, *records: object) -> str:
    """A JSONL file."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_gsm8k(tmp_path: Path) -> None:
    task = load("gsm8k", path=write(tmp_path / "g.jsonl", WORD))
    problem = task.problem("test", 0)
    assert (problem.prompt, problem.secret.reference, problem.task) == ("2 apples and 3?", "1205", task)
    assert task.check(problem, "so $1,205 in all") and task.check(problem, "1205.00")
    assert (
        not task.check(problem, "1204") and not task.check(problem, None) and not task.check(problem, "none")
    )
    steps = [
        "He has 2+3=<<2+3=5>>5.",
        "2 + 3 = 6",
        "x <<2*3=7>>",
        "7 / 0 = 3",
        "no sum",
        "A: 1205",
        "1/3=0.33",
    ]
    assert task.check_steps(problem, steps) == [True, False, False, False, True, True, True]
    pieces = [
        "1 + 2 * 3 = 7",
        "3 / 2 = 1 1/2 hours",
        ".5 * 2 = 1",
        "$5 - $2 = $3",
        "1 - 3/4 = 1/4",
        "20 + 30 = 50%",
    ]
    assert task.check_steps(problem, pieces) == [True] * 6
    assert task.check_steps(problem, ["Done. 2 + 2 = 5", "(2 + 2 = 5)", "$5 - $2 = $4"]) == [False] * 3
    assert all(task.check_steps(problem, problem.secret.solution.split("\n")))


def test_math500(tmp_path: Path) -> None:
    task = load("math500", path=write(tmp_path / "m.jsonl", PROOF))
    problem = task.problem("test", 0)
    assert task.check(problem, "\\boxed{\\frac{1}{2}}") and task.check(problem, "\\frac{1}{2}")
    assert not task.check(problem, "\\boxed{2}") and not task.check(problem, None)
    with pytest.raises(ValueError, match="no step checker"):
        task.check_steps(problem, ["x"])


@pytest.mark.parametrize("family", ["gsm8k", "math500"])
def test_errors(family: str, tmp_path: Path) -> None:
    good = WORD if family == "gsm8k" else PROOF
    with pytest.raises(ValueError, match="no such file"):
        load(family, path=str(tmp_path / "none")).problem("test", 0)
    with pytest.raises(ValueError, match="holds no problem"):
        load(family, path=write(tmp_path / "empty")).problem("test", 0)
    with pytest.raises(ValueError, match=r"bad:2: no text field"):
        load(family, path=write(tmp_path / "bad", good, {"answer": "1"})).problem("test", 0)
    with pytest.raises(ValueError, match=r"list:1: not an object"):
        load(family, path=write(tmp_path / "list", [1])).problem("test", 0)
    (tmp_path / "cut").write_text('{"question"')
    with pytest.raises(ValueError, match=r"cut:1: not JSON"):
        load(family, path=str(tmp_path / "cut")).problem("test", 0)
    task = load(family, path=write(tmp_path / "ok", good))
    with pytest.raises(ValueError, match="past the last"):
        task.problem("test", 1)
    with pytest.raises(ValueError, match="only the split"):
        task.problem("train", 0)
    with pytest.raises(TypeError):
        load(family)
