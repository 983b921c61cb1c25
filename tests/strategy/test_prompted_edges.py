"""Where strategies that talk to a model could trip: odd replies, rounds that make worse, models that are
small, parts within parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from outthink.bench.tasks import load
from outthink.core.branch import Branch
from outthink.core.judging import judge
from outthink.core.problem import Problem, Secret
from outthink.core.types import Answer, Budget, Candidate, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
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
    ModelSwitch,
    Once,
    Pdr,
    Permute,
    PerplexityConsistency,
    Plangen,
    Refine,
    Sift,
    Synthesize,
    Vote,
)
from outthink.testing.scripted import Transcript, scripted
from outthink.verify import Certainty, Exact, Judge, Likelihood, Steps

Q = "What is 1 + 1?"
PROBLEM = Problem(Q, secret=Secret(reference="2"))
Table = Mapping[str, str]


def run(strategy: Any, table: Table, problem: Problem = PROBLEM, **options: Any) -> tuple[Any, list[str]]:
    """The answer, and the questions that were asked; a script says one thing to what contains a text."""

    def script(question: str) -> Mapping[str, float]:
        return {next((reply for part, reply in table.items() if part in question), ""): 1.0}

    trace = Transcript()
    budget = options.pop("budget", Budget())
    engine = Engine(scripted(script, **options), trace=trace)
    answer = engine.run(Request(strategy, problem, budget, sampling=Sampling(temperature=1.0)))
    return answer, [exchange.question for exchange in trace.exchanges]


def why(answer: Any, what: str) -> list[str]:
    return [d.why for d in answer.receipt.degradations if d.what == what]


# ------------------------------------------------------------------------------------------- odd replies

ENDLESS = "1" * 650  # what a small model may write: more digits than Python makes a number of, see below


@pytest.fixture
def short_numbers() -> Iterator[None]:
    """The interpreter's own limit of 4300 digits, brought down to where a script is quick."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    yield
    sys.set_int_max_str_digits(before)


LISTED = Problem("Rank these.\n1. b\n2. a")


@pytest.mark.parametrize(
    ("strategy", "table", "problem", "final"),
    [
        (BackwardChain(), {"Which premises": ENDLESS}, Problem("A is. Is B?"), "unknown"),
        (Permute(n=2, join="kemeny"), {"Rank": f"A: {ENDLESS}"}, LISTED, None),
        (Plangen((Greedy(), Once()), rounds=1), {"Which method": ENDLESS, Q: "A: 2"}, PROBLEM, "2"),
        (BatchPrompt(), {"Q[1]": f"A[{ENDLESS}]: 3\nA[1]: 4"}, Problem("Q[1]: a"), "1: 4"),
    ],
)  # fmt: skip
def test_a_number_without_end_names_nothing(
    strategy: Any, table: Table, problem: Problem, final: str | None, short_numbers: None
) -> None:
    assert run(strategy, table, problem)[0].final == final


def test_a_score_below_zero_is_not_taken_for_one_above() -> None:
    table = {"Proposed solution": "Score: -90", "List the": "c", Q: "A: 2"}
    answer, _ = run(Plangen((Once(),), rounds=1), table)
    assert answer.score == 0.0 and why(answer, "plangen: check") != []
    answer, _ = run(Plangen((Once(),), rounds=1), table | {"Proposed solution": "**Score:** 90"})
    assert answer.score == 0.9 and why(answer, "plangen: check") == []


def test_marks_around_an_answer_are_no_part_of_it() -> None:
    said = "**A[1]:** 5\n**A[2]: 6**\nA[3]: *7*\n_A[4]_: -8"
    problem = Problem("\n".join(f"Q[{i}]: q" for i in range(1, 5)))
    assert run(BatchPrompt(again=False), {"Q[1]": said}, problem)[0].final == "1: 5; 2: 6; 3: 7; 4: -8"


PROMPTED = [
    BackwardChain(), BatchPrompt(size=1), BudgetForce(), Dser(n=2, rounds=1), Hints(n=2), Infty(rounds=2),
    Iad(Judge(), rounds=1), Pdr(n=2), Permute(n=2), Plangen((Greedy(), Once()), rounds=2), Refine(), Sift(),
    Synthesize(n=2),
]  # fmt: skip
MANY = Problem("1. Ann is here.\n2. Bob is there.\nQ[1]: Who is here?")


@pytest.mark.parametrize("strategy", PROMPTED, ids=repr)
@pytest.mark.parametrize("reply", ["", "\n", "A:", "{problem} {answer}", "Score: nan", "Verdict: maybe"])
def test_whatever_a_model_says_there_is_an_answer(strategy: Any, reply: str) -> None:
    answer, _ = run(strategy, {"": reply}, MANY)
    assert isinstance(answer.text, str) and answer.receipt.finish == "done"


# --------------------------------------------------------------------------------- rounds that make worse

LOST = {
    "Notes from": "Hm.",
    "Several drafts": "n",
    "Review:": "Hm.",
    "Check the": "No.",
    "may be": "Hm.",
    Q: "A: 2",
}
ROUNDS = [Pdr(n=2, rounds=2), Dser(n=2, rounds=2), Hints(n=2, rounds=2), Refine(rounds=2)]


@pytest.mark.parametrize("strategy", ROUNDS, ids=repr)
def test_a_round_without_an_answer_does_not_lose_the_one_before(strategy: Any) -> None:
    answer, _ = run(strategy, LOST)
    assert answer.final == "2"
    if not isinstance(strategy, Refine):  # there a revision may well be refused
        [told] = [d.why for d in answer.receipt.degradations]
        assert "without a final answer" in told


@pytest.mark.parametrize("strategy", ROUNDS, ids=repr)
def test_a_larger_budget_never_loses_an_answer(strategy: Any) -> None:
    """Once the first answers are written, 5 tokens each, they stand wherever the budget ends."""
    whole = run(strategy, LOST)[0].receipt.logical.written
    finals = [run(strategy, LOST, budget=Budget(written=n))[0].final for n in range(10, whole + 2)]
    assert set(finals) == {"2"}


@pytest.mark.parametrize(
    "strategy",
    [Pdr(n=2), Dser(n=2), Hints(n=2), Synthesize(n=2), Iad(Exact(), width=2), Plangen((Once(),))],
    ids=repr,
)
def test_an_answer_that_is_written_stands_while_others_are_not(strategy: Any) -> None:
    """One sample in two never ends; the budget ends in it, or in what is asked about the answers."""

    def script(question: str) -> Mapping[str, float]:
        if "List the" in question:
            return {"c": 1.0}
        return {"A: 2": 0.5, "so " * 60: 0.5} if question == Q else {"so " * 60: 1.0}

    finals = []
    for seed in range(12):
        engine = Engine(scripted(script))
        request = Request(strategy, PROBLEM, Budget(written=90), seed, Sampling(temperature=1.0))
        told = Transcript()
        engine.trace = told
        answer = engine.run(request)
        if any(e.question == Q and e.reply == "A: 2" for e in told.exchanges):
            finals.append(answer.final)
    assert len(finals) > 3 and set(finals) == {"2"}


def test_what_a_revision_replaces_is_given_up() -> None:
    """Twenty rounds hold no more branches than two."""
    said = {"Review:": "A: 2", "Check the": "It is wrong.", Q: "A: 3"}
    engine = Engine(scripted(lambda question: {next(r for part, r in said.items() if part in question): 1.0}))
    for rounds in (2, 20):
        answer = engine.run(Request(Refine(rounds=rounds), PROBLEM, max_branches=5))
        assert answer.final == "2"


# ------------------------------------------------------------------------------------ backward chaining


def test_short_rules_come_first_and_no_question_twice() -> None:
    long, short = "If it is cold and it is wet and it is dark, then it snows", "If it is white then it snows"
    table = {"Which premises": "1, 2", "Which conditions": "It is white.\nIt is white", "Does the": "Agrees"}
    problem = Problem(f"{long}.\n{short}.\nIt snows.")
    answer, asked = run(BackwardChain(depth=1), table, problem)
    rules = [q.splitlines()[0] for q in asked if q.startswith("Rule:")]
    assert rules == [f"Rule: {short}.", f"Rule: {long}."] and len(asked) == len(set(asked))
    assert answer.final == "unknown"


# ------------------------------------------------------------------------------------------ small models


def test_a_model_that_the_question_does_not_fit_is_left_out() -> None:
    engine = Engine(scripted(lambda question: {"A: 1": 0.5, "A: 2": 0.5}))
    engine.add(scripted(lambda question: {"A: 9": 1.0}, context=5, name="small"))
    engine.add(scripted(lambda question: {"A: 3": 1.0}, name="large"))
    for seed in range(40):
        answer = engine.run(Request(ModelSwitch(("small", "large"), n=2), Q, seed=seed))
        if len(answer.others) == 3:  # the first model did not agree with itself
            break
    assert answer.final == "3" and "9" not in {a.final for a in answer.others}
    assert "small was not asked" in why(answer, "model_switch")[0]


# --------------------------------------------------------------------------------------- parts in parts

SAID = {"Score: <": "Score: 100", Q: "A: 2"}
INNER = [Dser(n=2, rounds=1), Hints(n=2), Iad(Exact(), rounds=1), Infty(), Pdr(n=2), Refine(rounds=1), Sift(),
         Synthesize(n=2), BudgetForce(), Plangen((Once(),)), Vote(n=2)]  # fmt: skip


@pytest.mark.parametrize("inner", INNER, ids=repr)
@pytest.mark.parametrize(
    "outer",
    [
        lambda inner: PerplexityConsistency(n=2, inner=inner),
        lambda inner: BestOfN(Certainty(), n=2, inner=inner),
        lambda inner: BestOfN(Likelihood(), n=2, inner=inner),
        lambda inner: Refine(rounds=1, inner=BestOfN(Exact(), n=1, inner=inner)),
    ],
    ids=["perplexity", "certainty", "likelihood", "layers"],
)
def test_what_they_give_can_be_judged_by_what_is_around_them(outer: Any, inner: Any) -> None:
    """Its log-probability and statistics come with an answer, also where its branch is closed already."""
    answer, _ = run(outer(inner), SAID)
    assert answer.final == "2"


def test_an_answer_is_judged_by_its_own_statistics_not_by_its_prefix() -> None:
    """The branch to ask from has a text of its own; what is judged was written elsewhere, and is closed."""
    found: dict[str, float] = {}

    class Prefixed:
        async def __call__(self, root: Branch, /) -> Answer:
            root.record("certainty")
            [branch] = root.fork()
            await branch.generate()
            [other] = root.fork()
            await other.generate()
            logprob, stats = -1.5, {"certainty": (7.0, 9.0)}
            answer = Answer("A: 2", "2", tokens=3, logprob=logprob, stats=stats, branch=other)
            other.close()
            for part in (Certainty(), Likelihood()):
                [score] = await judge(part, [branch.candidate(answer)])
                found[repr(part)] = score.value
            return answer

    run(Prefixed(), {Q: "A: 3"})
    assert found == {"certainty()": 8.0, "likelihood()": -0.5}


def test_steps_of_an_answer_without_a_line_are_no_word() -> None:
    problem = load("paths").problem("test", 0)

    class Call:
        async def __call__(self, root: Branch, /) -> Answer:
            with_final, without = await judge(
                Steps(), [Candidate("", problem, "3", branch=root), Candidate("", problem, None, branch=root)]
            )
            assert with_final.value == float("-inf") and without.value == 0.0
            return Answer("checked")

    assert run(Call(), {Q: "A: 3"})[0].text == "checked"
