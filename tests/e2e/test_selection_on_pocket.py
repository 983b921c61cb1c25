"""Selection strategies on the embedded models: budgets kept, the cheap model first, the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

import outthink as ot
from outthink import cli
from outthink.bench.tasks import load as load_task
from outthink.engine.engine import Engine
from outthink.engine.request import Request

STRATEGIES: list[Any] = [
    ot.strategy.PerplexityConsistency(n=6),
    ot.strategy.BestOfMajority(n=6),
    ot.strategy.ComplexityVote(n=6),
    ot.strategy.Temperatures(n=6),
    ot.strategy.DeepConf(n=6, warmup=2),
    ot.strategy.SetCover(n=6, every=16),
    ot.strategy.SemanticEntropy(n=3),
    ot.strategy.Fractured(n=2),
    ot.strategy.CotDecode(k=6),
    ot.strategy.Race(),
]


@pytest.fixture(scope="module")
def lm() -> Engine:
    return ot.load("pocket", threads=1)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_an_answer_within_any_budget(lm: Engine, strategy: Any) -> None:
    problem = load_task("steps").problem("test", 3)
    free = lm.run(Request(strategy, problem, seed=1))
    assert free.final is not None and free.receipt is not None and free.receipt.finish == "done"
    for cap in (7, 60, 150):
        answer = lm.run(Request(strategy, problem, seed=1, budget=ot.Budget(written=cap)))
        assert answer.text and answer.receipt is not None and answer.receipt.logical.written <= cap


def test_cot_decoding_scores_between_zero_and_one(lm: Engine) -> None:
    problem = load_task("steps").problem("test", 0)
    answer = lm.run(Request(ot.strategy.CotDecode(k=5, pooled=False), problem))
    scores = [a.score for a in (answer, *answer.others)]
    assert len(scores) == 5 and all(s is not None and 0 <= s <= 1 for s in scores)
    assert answer.score == max(s for s in scores if s is not None)


def test_the_second_model_is_asked_only_where_the_first_disagrees() -> None:
    lm = ot.load("pocket-mini", threads=1)
    beside = ot.load("pocket", threads=1).main
    lm.add(beside.backend)
    task, asked = load_task("steps"), []
    for index in range(6):
        answer = lm.run(Request(ot.strategy.ModelSwitch(("pocket",), n=3), task.problem("test", index)))
        agree = len({a.final for a in (answer, *answer.others)}) == 1
        assert len(answer.others) + 1 == (3 if agree and len(answer.others) == 2 else 6)
        asked.append(len(answer.others) + 1)
    assert {3, 6} == set(asked)


def test_an_unknown_model_costs_nothing(lm: Engine) -> None:
    with pytest.raises(ot.BadInput, match="no model in this engine named 'pocket2'"):
        lm.run(Request(ot.strategy.ModelSwitch(("pocket2",)), "1 + 1?"))


def test_a_second_model_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["solve", "--task", "steps", "--threads", "1", "--model", "pocket-mini", "--json", "--also"]
    assert cli.run([*words, "pocket", "--strategy", "model_switch(models=('pocket',), n=2)"]) == 0
    assert json.loads(capsys.readouterr().out)["receipt"]["logical"]["written"] > 0
    assert cli.run([*words, "pocket-mini", "--strategy", "greedy"]) == 2
    assert "the model pocket-mini is there already" in capsys.readouterr().err
