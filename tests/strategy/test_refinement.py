"""Strategies that talk to a model, on scripts: golden transcripts, exact distributions, exact costs."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from outthink.core.errors import CacheFull
from outthink.core.problem import Problem, Secret
from outthink.core.types import Budget, Can, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace
from outthink.strategy import (
    BackwardChain,
    BestOfN,
    BudgetForce,
    Dser,
    Greedy,
    Hints,
    Iad,
    Infty,
    Once,
    Pdr,
    Plangen,
    Refine,
    Sift,
    Synthesize,
    Vote,
    _prompts,
)
from outthink.strategy.dser import share_right
from outthink.testing.enumerate import enumerate_runs
from outthink.testing.scripted import Exchange, Transcript, scripted
from outthink.verify import Exact, Judge

Q = "What is 1 + 1?"
PROBLEM = Problem(Q, secret=Secret(reference="2"))
Script = Callable[[str], Mapping[str, float]]


def run(
    strategy: Any, script: Script, problem: Problem = PROBLEM, **options: Any
) -> tuple[Any, list[Exchange]]:
    """The answer, and all that was said, in the order of the branches."""
    trace = Transcript()
    sampling = Sampling(temperature=1.0, max_tokens=options.pop("max_tokens", None))
    budget = options.pop("budget", Budget())
    engine = Engine(scripted(script, **options), trace=trace)
    answer = engine.run(Request(strategy, problem, sampling=sampling, budget=budget))
    return answer, trace.exchanges


def always(table: Mapping[str, str]) -> Script:
    """A script that says one thing to each question that contains a text; the first that fits."""

    def script(question: str) -> Mapping[str, float]:
        return {next((reply for part, reply in table.items() if part in question), "?"): 1.0}

    return script


def fill(template: str, **values: str) -> str:
    return _prompts.fill(template, problem=Q, **values)


def written(exchanges: list[Exchange]) -> int:
    """The tokens of all replies that ended by themselves: their bytes and one end each."""
    return sum(len(e.reply.encode()) + 1 for e in exchanges)


# --------------------------------------------------------------------------------------------------- refine

REFINING = always(
    {
        "Review:\n3 is too much.": "A: 2",
        "Review:\nAll fine.": "A: 2",
        "Proposed answer:\nA: 3\n\nCheck": "3 is too much.",
        "Proposed answer:\nA: 2\n\nCheck": "All fine.\nNo mistakes.",
        Q: "A: 3",
    }
)


def test_refine_golden() -> None:
    answer, said = run(Refine(), REFINING)
    assert said == [
        Exchange(Q, "A: 3"),
        Exchange(fill(_prompts.CRITIQUE, answer="A: 3"), "3 is too much."),
        Exchange(fill(_prompts.REVISE, answer="A: 3", critique="3 is too much."), "A: 2"),
        Exchange(fill(_prompts.CRITIQUE, answer="A: 2"), "All fine.\nNo mistakes."),
    ]
    assert answer.final == "2" and answer.receipt.logical.written == written(said)


def test_a_revision_without_an_answer_does_not_replace_one_that_has_it() -> None:
    answer, _ = run(Refine(rounds=2), always({"Review:": "I give up.", "Check the": "Wrong.", Q: "A: 3"}))
    assert answer.final == "3"


def test_refine_keeps_the_first_answer_when_the_budget_ends_in_the_critique() -> None:
    answer, _ = run(Refine(), REFINING, budget=Budget(written=8))
    assert answer.final == "3" and answer.receipt.logical.written <= 8


def test_a_question_that_does_not_fit_ends_the_refinement_and_is_said() -> None:
    answer, _ = run(Refine(), REFINING, context=100)
    assert answer.final == "3" and [d.what for d in answer.receipt.degradations] == ["context"]


@pytest.mark.parametrize("text", ["{answer}", "{critique} {problem}", "\\1 {0} {}"])
def test_braces_in_texts_stay_what_they_are(text: str) -> None:
    filled = _prompts.fill(_prompts.REVISE, problem="PROBLEM", answer=text, critique="C")
    assert text in filled and filled.count("PROBLEM") == 1 and "\nC\n" in filled


# ------------------------------------------------------------------------------------------------------ iad


def test_iad_shows_the_best_and_the_worst_attempt_with_their_scores() -> None:
    def script(question: str) -> Mapping[str, float]:
        if question == Q:
            return {"A: 3": 1.0}
        return {"A: 2" if question.count("Score: 0\nA: 3") == 2 else "A: 3": 1.0}

    answer, said = run(Iad(Exact(), rounds=5, width=2, enough=1.0), script)
    shown = "[1]\nScore: 0\nA: 3\n\n[2]\nScore: 0\nA: 3"
    assert said == [Exchange(Q, "A: 3")] * 2 + [Exchange(fill(_prompts.IMPROVE, attempts=shown), "A: 2")] * 2
    assert (answer.final, answer.score) == ("2", 1.0)
    assert answer.receipt.by_scope["run/verify"].verified == 4


def test_iad_never_returns_less_than_its_best() -> None:
    script = always({"Earlier attempts": "A: 9", Q: "A: 2"})
    answer, said = run(Iad(Exact(), rounds=3, width=1), script)
    assert (answer.final, answer.score, len(said)) == ("2", 1.0, 4)
    assert "[1]\nScore: 1\nA: 2\n\n[2]\nScore: 0\nA: 9" in said[-1].question


# ------------------------------------------------------------------------------------------------------ pdr


def test_pdr_golden() -> None:
    script = always({"Several drafts": "Both say 3; 3 is too much.", "Notes from": "A: 2", Q: "A: 3"})
    answer, said = run(Pdr(n=2, rounds=2, workspace=11), script)
    first = fill(_prompts.WORKSPACE, drafts="[1]\nA: 3\n\n[2]\nA: 3")
    again = fill(_prompts.WORKSPACE, drafts="[1]\nA: 2\n\n[2]\nA: 2")
    refine = fill(_prompts.FROM_WORKSPACE, workspace="Both say 3;")
    assert [e.question for e in said] == [Q, Q, first, refine, refine, again, refine]
    assert [e.reply for e in said if "Several" in e.question] == ["Both say 3;"] * 2  # cut at 11 tokens
    assert answer.final == "2"


@pytest.mark.parametrize("rounds", [1, 2, 6])
def test_no_context_of_pdr_grows_with_its_rounds(rounds: int) -> None:
    script = always({"Several drafts": "n" * 500, "Notes from": "d" * 100, Q: "d" * 100})
    n, workspace, draft = 3, 40, 30
    _, said = run(Pdr(n=n, rounds=rounds, workspace=workspace), script, max_tokens=draft)
    template = max(len(fill(_prompts.WORKSPACE, drafts="")), len(fill(_prompts.FROM_WORKSPACE, workspace="")))
    bound = template + n * (draft + len("[1]\n\n\n")) + max(workspace, draft)
    assert max(len(e.question) + len(e.reply) for e in said) <= bound


# ----------------------------------------------------------------------------------------------------- dser


def chain(start: float, fix: float, spoil: float) -> Script:
    def script(question: str) -> Mapping[str, float]:
        if question == Q:
            return {"A: 2": start, "A: 3": 1 - start}
        if "Review" not in question:
            return {"k": 1.0}
        return {"A: 2": 1 - spoil, "A: 3": spoil} if "A: 2" in question else {"A: 2": fix, "A: 3": 1 - fix}

    return script


@pytest.mark.parametrize(("n", "rounds"), [(1, 1), (1, 3), (2, 2), (3, 1)])
def test_dser_is_the_markov_chain_that_it_says(n: int, rounds: int) -> None:
    """The enumerated distribution of the vote equals that of n independent two-state chains."""
    start, fix, spoil = 0.25, 0.375, 0.125
    script = chain(start, fix, spoil)
    request = Request(Dser(n=n, rounds=rounds), PROBLEM, sampling=Sampling(temperature=1.0))
    found = enumerate_runs(lambda: scripted(script, context=1024), request, lambda a: a.final)
    p = share_right(start, fix, spoil, rounds)
    truth = 0.0
    for chains in itertools.product((True, False), repeat=n):
        weight = math.prod(p if is_right else 1 - p for is_right in chains)
        votes = sum(chains)
        wins = votes * 2 > n or (votes * 2 == n and chains[0])  # a tie goes to the first
        truth += weight * wins
    assert found["2"] == pytest.approx(truth, abs=1e-12)
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-12)


def test_dser_golden() -> None:
    answer, said = run(Dser(n=1, rounds=2), REFINING)
    assert said == [
        Exchange(Q, "A: 3"),
        Exchange(fill(_prompts.CRITIQUE, answer="A: 3"), "3 is too much."),
        Exchange(fill(_prompts.REVISE, answer="A: 3", critique="3 is too much."), "A: 2"),
        Exchange(fill(_prompts.CRITIQUE, answer="A: 2"), "All fine.\nNo mistakes."),
        Exchange(fill(_prompts.REVISE, answer="A: 2", critique="All fine.\nNo mistakes."), "A: 2"),
    ]
    assert answer.final == "2"


def test_the_share_of_right_answers_goes_to_its_limit() -> None:
    assert share_right(0.0, 0.3, 0.1, 200) == pytest.approx(0.75)
    assert share_right(0.4, 0.0, 0.0, 9) == 0.4
    by_hand = 0.2
    for _ in range(5):
        by_hand = by_hand * (1 - 0.1) + (1 - by_hand) * 0.3
    assert share_right(0.2, 0.3, 0.1, 5) == pytest.approx(by_hand)


# ---------------------------------------------------------------------------------------------------- infty


def counter(upto: int, step: int) -> Script:
    """Counts on from the progress that it is shown, `step` numbers a segment."""

    def script(question: str) -> Mapping[str, float]:
        if "Summarize" in question:
            done = re.findall(r"\d+", question.partition("since:")[2])
            return {f"at {done[-1]}": 1.0}
        if question == Q:
            return {"x": 1.0}
        at = int((re.findall(r"at (\d+)", question) or ["0"])[0])
        line = " ".join(str(i) for i in range(at + 1, min(at + step, upto) + 1))
        return {line + (f"\nA: {upto}" if at + step >= upto else ""): 1.0}

    return script


def test_infty_reasons_on_from_its_summaries() -> None:
    answer, said = run(Infty(rounds=9, segment=100, summary=9), counter(7, 3))
    assert [e.reply for e in said] == ["1 2 3", "at 3", "4 5 6", "at 6", "7\nA: 7"]
    assert answer.final == "7" and "Progress so far:\nat 6\n" in said[-1].question


def test_infty_reasons_to_any_depth_in_a_cache_of_fixed_size() -> None:
    """What one question and its reply take is enough for 5 segments and for 50; one long trace needs more."""
    slots = 2 + len(fill(_prompts.SUMMARY, summary="", segment="")) + 2 * 9 + 2 * 15

    def peak(strategy: Any, script: Script) -> float:
        request = Request(strategy, PROBLEM, sampling=Sampling(temperature=1.0))
        answer = Engine(scripted(script), slots=slots + 64).run(request)
        assert answer.receipt is not None and answer.final is not None
        return answer.receipt.actual.cache_bytes

    for upto in (115, 250):
        assert peak(Infty(rounds=99, segment=40, summary=9), counter(upto, 3)) <= slots + 64
    with pytest.raises(CacheFull):
        peak(Once(), lambda q: {" ".join(map(str, range(250))): 1.0})


class Held(Trace):
    """The most tokens that open branches stand on after any pass."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.most = 0

    def passed(self, info: Any) -> None:
        assert self.engine is not None
        held = sum(len(node.tokens) for node in self.engine.main.tree.nodes() if node.cursors)
        self.most = max(self.most, held)


def test_infty_holds_one_context_at_a_time() -> None:
    most = []
    for upto in (115, 250):
        trace = Held()
        trace.engine = Engine(scripted(counter(upto, 3)), trace=trace)
        strategy = Infty(rounds=99, segment=40, summary=9)
        trace.engine.run(Request(strategy, PROBLEM, sampling=Sampling(temperature=1.0)))
        most.append(trace.most)
    assert most[0] == most[1] < 400


def test_a_segment_that_was_cut_goes_on_although_it_looks_like_an_answer() -> None:
    script = always({"Summarize": "half", "half": "A: 12", "nothing yet": "A: 123456"})
    answer, said = run(Infty(rounds=5, segment=6), script)
    assert [e.reply for e in said] == ["A: 123", "half", "A: 12"] and answer.final == "12"


# ----------------------------------------------------------------------------------------------------- sift


def test_sift_stops_at_agreement_and_refines_only_on_disagreement() -> None:
    agree = always({"Its key facts": "A: 2", "List the facts": "1 and 1", Q: "A: 2"})
    answer, said = run(Sift(), agree)
    assert [e.reply for e in said] == ["A: 2", "1 and 1", "A: 2"] and answer.final == "2"
    mends = always(
        {
            "key facts:\n1, 1 and +\n\nAnswer": "A: 2",
            "key facts:\n1 and 1\n\nCorrect": "1, 1 and +",
            "key facts:\n1 and 1\n\nAnswer": "A: 3",
            "List the facts": "1 and 1",
            Q: "A: 2",
        }
    )
    answer, said = run(Sift(), mends)
    assert [e.reply for e in said] == ["A: 2", "1 and 1", "A: 3", "1, 1 and +", "A: 2"]
    assert answer.final == "2" and len(answer.others) == 2


def test_sift_reads_the_facts_off_the_answer_in_even_rounds() -> None:
    script = always({"that is not shown:\nA: 3": "from 3", "key facts": "A: 3", "facts": "f", Q: "A: 2"})
    answer, said = run(Sift(rounds=2), script)
    assert said[-2].reply == "from 3" and "key facts:\nfrom 3" in said[-1].question
    assert answer.final == "3"  # three grounded predictions against one


# ---------------------------------------------------------------------------------------------------- hints

HINTED = {"1": {"1": 0.5, "2": 0.5}, "2": {"1": 0.125, "2": 0.875}}


def hinted(question: str) -> Mapping[str, float]:
    hint = re.search(r"may be (\d)", question)
    row = HINTED[hint[1]] if hint else {"1": 0.75, "2": 0.25}
    return {f"A: {y}": p for y, p in row.items()}


def recursion(rounds: int) -> dict[str, float]:
    """p_r(y) = sum over h of p_{r-1}(h) p(y | h)."""
    p = {"1": 0.75, "2": 0.25}
    for _ in range(rounds):
        p = {y: sum(p[h] * HINTED[h][y] for h in p) for y in p}
    return p


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_hints_are_marginalized(rounds: int) -> None:
    request = Request(Hints(n=1, rounds=rounds), PROBLEM, sampling=Sampling(temperature=1.0))
    found = enumerate_runs(lambda: scripted(hinted, context=256), request, lambda a: a.final)
    assert found == pytest.approx(recursion(rounds), abs=1e-12)


def test_many_hinted_samples_find_the_mode_that_plain_samples_miss() -> None:
    answer, said = run(Hints(n=200, rounds=4), hinted)
    assert recursion(4)["2"] > 0.75 and run(Vote(n=200), hinted)[0].final == "1"
    assert answer.final == "2"
    assert abs(answer.score - recursion(4)["2"]) < 5 * math.sqrt(0.25 / 200) * math.sqrt(2)
    assert len(said) == 5 * 200


def test_each_hint_gets_its_share_of_the_samples() -> None:
    _, said = run(Hints(n=8, rounds=1), hinted)
    first = [e.reply for e in said if e.question == Q]
    given = [e.question for e in said if e.question != Q]
    for y in "12":
        assert sum(f"may be {y}" in q for q in given) == first.count(f"A: {y}")


# --------------------------------------------------------------------------------------------- budget_force


def thinks(question: str) -> Mapping[str, float]:
    return {"1 + 1 is 3\nA: 3": 1.0}


def reconsiders(question: str, start: str) -> Mapping[str, float] | None:
    if start.endswith("\nWait,"):
        return {" 1 + 1 is 2\nA: 2": 1.0}
    return {" 4\nmore": 1.0} if start in ("1 + 1 is \nA:", "Hmm\nA:") else None


def test_a_forced_hint_takes_the_end_off_and_goes_on() -> None:
    answer, said = run(BudgetForce(), thinks, after=reconsiders)
    assert answer.text == "1 + 1 is 3\nA: 3\nWait, 1 + 1 is 2\nA: 2" and answer.final == "2"
    assert answer.receipt.logical.written == len("1 + 1 is 3\nA: 3.") + len(" 1 + 1 is 2\nA: 2.")
    assert answer.receipt.logical.read == len(Q) + 2 + len("\nWait,")
    assert len(said) == 2


def test_hints_come_in_turn() -> None:
    hints = ("\nWait,", "\nHm.\nWait,")
    answer, _ = run(BudgetForce(hints), thinks, after=reconsiders)
    assert answer.text.count("1 + 1 is 2") == 2 and "\nHm.\nWait, 1" in answer.text


def test_at_the_cap_the_answer_is_cued() -> None:
    answer, _ = run(BudgetForce(most=9), thinks, after=reconsiders)
    assert answer.text == "1 + 1 is \nA: 4" and answer.final == "4"
    assert answer.receipt.logical.written == 9 + len(" 4\n")


def test_without_an_answer_at_the_end_it_is_cued() -> None:
    answer, _ = run(BudgetForce(hints=()), lambda q: {"Hmm": 1.0}, after=reconsiders)
    assert answer.text == "Hmm\nA: 4"


@pytest.mark.parametrize("room", range(1, 40))
def test_the_context_is_never_overrun(room: int) -> None:
    answer, _ = run(BudgetForce(), thinks, after=reconsiders, context=len(Q) + 2 + room)
    assert len(answer.text) <= room
    assert answer.final == "2" or room < 40


# -------------------------------------------------------------------------------------------- backward_chain

Rule = tuple[tuple[str, ...], str]


def told(literal: str) -> str:
    return f"It is {literal}." if literal[0] != "-" else f"It is not {literal[1:]}."


def prover(rules: list[Rule]) -> Script:
    """A model that answers the four modules without a mistake."""
    listed = [premise(rule) for rule in rules]

    def script(question: str) -> Mapping[str, float]:
        goal = re.search(r"Goal: (It is (not )?(\w+))", question)
        if goal is None:
            return {"?": 1.0}
        own, opposite = (goal[3], "-" + goal[3]) if not goal[2] else ("-" + goal[3], goal[3])
        facts = [head for body, head in rules if not body]
        if "Does one premise" in question:
            return {"Proved" if own in facts else "Disproved" if opposite in facts else "Unknown": 1.0}
        if "Which premises" in question:
            fit = [i for i, (body, head) in enumerate(rules, 1) if body and head in (own, opposite)]
            return {", ".join(map(str, fit)) or "none": 1.0}
        rule = next(r for r, text in zip(rules, listed, strict=True) if f"Rule: {text}" in question)
        if "Which conditions" in question:
            return {"\n".join(map(told, rule[0])): 1.0}
        return {"Agrees" if rule[1] == own else "Contradicts": 1.0}

    return script


def premise(rule: Rule) -> str:
    body, head = rule
    return (
        told(head)
        if not body
        else f"If {' and '.join(map(told, body))[:-1]} then {told(head)}".replace(". ", " ")
    )


def closure(rules: list[Rule]) -> set[str]:
    """All that follows, forwards."""
    known: set[str] = set()
    while new := {head for body, head in rules if head not in known and set(body) <= known}:
        known |= new
    return known


@pytest.mark.parametrize("seed", range(12))
def test_backward_chaining_proves_what_follows_forwards(seed: int) -> None:
    """Random theories without contradictions: what is proved, disproved and unknown is what forward chaining
    finds."""
    chance = random.Random(seed)
    truth = {atom: chance.random() < 0.6 for atom in "abcdef"}
    literals = [atom if truth[atom] else "-" + atom for atom in truth]
    rules: list[Rule] = [((), chance.choice(literals))]
    for _ in range(6):
        body = tuple(sorted(chance.sample(literals, chance.choice((1, 2)))))
        rules.append((body, chance.choice([one for one in literals if one not in body])))
    rules = list(dict.fromkeys(rules))
    follows = closure(rules)
    for goal in ("a", "-b", "c"):
        opposite = goal[1:] if goal[0] == "-" else "-" + goal
        right = "yes" if goal in follows else "no" if opposite in follows else "unknown"
        problem = Problem("\n".join([*map(premise, rules), told(goal)]))
        answer, _ = run(BackwardChain(depth=8), prover(rules), problem)
        assert answer.final == right, (rules, goal, answer.text)


def test_depth_is_a_limit() -> None:
    rules: list[Rule] = [((), "a"), (("a",), "b"), (("b",), "c")]
    problem = Problem("\n".join([*map(premise, rules), told("c")]))
    assert run(BackwardChain(depth=1), prover(rules), problem)[0].final == "unknown"
    answer, _ = run(BackwardChain(depth=2), prover(rules), problem)
    assert answer.text == (
        "It is a.: holds (given)\nIt is b.: holds (If It is a then It is b.)\n"
        "It is c.: holds (If It is b then It is c.)\nA: yes"
    )


def test_a_circle_ends() -> None:
    rules: list[Rule] = [(("a",), "b"), (("b",), "a")]
    problem = Problem("\n".join([*map(premise, rules), told("a")]))
    answer, said = run(BackwardChain(depth=50), prover(rules), problem)
    assert answer.final == "unknown" and len(said) == 2 * 3  # two goals: fact check, rules, decomposition


# ------------------------------------------------------------------------------- synthesize, archon, plangen


def test_synthesis_can_be_right_where_all_candidates_are_wrong() -> None:
    script = always({"Candidate answers:\n[1]\nA: 3\n\n[2]\nA: 3": "3 is too much.\nA: 2", Q: "A: 3"})
    answer, said = run(Synthesize(n=2), script)
    assert answer.final == "2" and [a.final for a in answer.others] == ["3", "3"]
    assert answer.receipt.logical.written == written(said)


def test_without_a_synthesis_the_candidates_vote_and_the_receipt_says_so() -> None:
    answer, _ = run(Synthesize(n=3, samples=2), always({"Candidate answers": "Hm.", Q: "A: 3"}))
    assert answer.final == "3" and [d.what for d in answer.receipt.degradations] == ["synthesize"]


def test_archon_is_nesting() -> None:
    """Generators, a ranking judge, a critic and a fuser, as layers: one configuration, one transcript."""
    layers = Synthesize(n=2, inner=Refine(rounds=1, inner=BestOfN(Judge(), n=2)))
    script = always(
        {
            "Candidate answers": "A: 2",
            "Review:": "A: 4",
            "Name every": "Not quite.",
            "Verdict:": "Verdict: incorrect",
            Q: "A: 3",
        }
    )
    answer, said = run(layers, script)
    assert answer.final == "2" and answer.receipt.logical.verified == 4
    assert len(said) == 2 * (2 + 2 + 1 + 1) + 1
    assert sum("Verdict:" in e.question for e in said) == 4
    assert sum("Name every" in e.question for e in said) == sum("Review:" in e.question for e in said) == 2
    assert answer.receipt.logical.written == written(said)


def planner(named: str) -> Script:
    return always(
        {
            "Methods:": named,
            "List the constraints": "It is even.",
            "Proposed solution:\nA: 2": "Score: 100",
            "Proposed solution:\nA: 3": "Score: 10",
            "Notes from": "A: 2",
            "Several drafts": "n",
            Q: "A: 3",
        }
    )


def test_plangen_begins_with_the_method_that_the_model_names() -> None:
    answer, said = run(Plangen((Greedy(), Pdr(n=1))), planner("I choose\n2"))
    assert (answer.final, answer.score) == ("2", 1.0)
    assert sum("Constraints:\nIt is even." in e.question for e in said) == 2  # the choice, and one check


def test_plangen_goes_on_to_another_method_where_the_first_does_not_do() -> None:
    answer, said = run(Plangen((Greedy(), Pdr(n=1)), rounds=3), planner("1"))
    checks = [e.reply for e in said if "Proposed solution" in e.question]
    assert checks == ["Score: 10", "Score: 100"] and answer.final == "2"
    assert [a.score for a in answer.others] == [0.1]


def test_plangen_says_when_it_cannot_read() -> None:
    script = always({"Methods:": "Any.", "Proposed": "good", "List": "c", Q: "A: 3"})
    answer, _ = run(Plangen((Once(), Greedy()), rounds=1), script)
    assert [d.what for d in answer.receipt.degradations] == ["plangen", "plangen: check"]
    assert answer.score == 0.0


# -------------------------------------------------------------------------------------------- on any backend

ALL = [
    BackwardChain(), Dser(n=2, rounds=1), Hints(n=2), Iad(Judge(), rounds=1), Infty(rounds=2), Pdr(n=2),
    Plangen((Greedy(), Once()), rounds=1), Refine(rounds=1), Sift(), Synthesize(n=2),
]  # fmt: skip


@pytest.mark.parametrize("strategy", ALL, ids=repr)
def test_they_need_no_more_than_writing(strategy: Any) -> None:
    """What any endpoint can do."""
    run(strategy, always({"Score": "Verdict: correct", Q: "A: 2"}), can=Can.GENERATE)
