"""The strategies that talk to a model run on a model that cannot follow them: no crash, budgets kept."""

from __future__ import annotations

from typing import Any

import pytest

import outthink as ot
from outthink.bench.tasks import load
from outthink.engine.engine import Engine
from outthink.strategy import (
    BackwardChain,
    BatchPrompt,
    BestOfN,
    BudgetForce,
    Dser,
    Greedy,
    Hints,
    Iad,
    Infty,
    Pdr,
    Permute,
    Plangen,
    ReadTwice,
    Refine,
    Sift,
    Synthesize,
    Vote,
)
from outthink.verify import Combine, Judge, SelfEval, Steps

PARTS = [
    BackwardChain(depth=1),
    BatchPrompt(size=2),
    BudgetForce(),
    BudgetForce(most=12),
    Dser(n=2, rounds=1),
    Hints(n=3),
    Iad(Steps(), rounds=1),
    Infty(rounds=2, segment=20, summary=8),
    Pdr(n=2, workspace=20),
    Permute(n=2),
    Permute(n=2, unit="sentences"),
    Plangen((Greedy(), Vote(n=2)), rounds=1),
    ReadTwice(),
    Refine(rounds=1),
    Sift(rounds=1),
    Synthesize(n=2),
    BestOfN(Judge(max_tokens=20), n=2),
    BestOfN(Combine((SelfEval(), Steps())), n=2),
]


@pytest.fixture(scope="module")
def pocket() -> Engine:
    return ot.load("pocket")


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_it_runs_and_keeps_its_budget(part: Any, pocket: Engine) -> None:
    problem: Any = load("steps").problem("test", 3)
    if isinstance(part, BatchPrompt):
        problem = "Q[1]: What is 2 + 3?\nQ[2]: What is 4 + 5?\nQ[3]: What is 6 + 7?"
    for cap in (7, 150):
        answer = ot.run(part, problem, pocket, budget=ot.Budget(written=cap), seed=1)
        assert answer.receipt is not None and answer.receipt.logical.written <= cap
    again = ot.run(part, problem, pocket, budget=ot.Budget(written=cap), seed=1)
    assert (again.text, again.final) == (answer.text, answer.final)
    assert again.score == pytest.approx(answer.score, abs=1e-4)  # cached prefixes change float32's last bits
    assert again.receipt is not None and again.receipt.logical.written == answer.receipt.logical.written
