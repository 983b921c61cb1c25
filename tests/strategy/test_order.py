"""Order and packing: rankings against brute force, invariance under the order given, costs to the token."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outthink.core.errors import BadInput
from outthink.core.problem import Problem
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import BatchPrompt, Once, Permute, ReadTwice, Refine
from outthink.strategy._ranking import borda, kemeny, margins
from outthink.strategy.batch_prompt import answers_in
from outthink.strategy.permute import moved, places, read_ranking
from outthink.testing.scripted import Exchange, Transcript, scripted


def run(strategy: Any, script: Any, prompt: str, seed: int = 0, **options: Any) -> tuple[Any, list[Exchange]]:
    trace = Transcript()
    engine = Engine(scripted(script, **options), trace=trace)
    request = Request(strategy, Problem(prompt), seed=seed, sampling=Sampling(temperature=1.0))
    return engine.run(request), trace.exchanges


# -------------------------------------------------------------------------------------------------- rankings


def distance(order: Sequence[int], rankings: Sequence[Sequence[int]]) -> int:
    """The sum of Kendall tau distances: pairs that a ranking has the other way round."""
    total = 0
    for ranking in rankings:
        place = {item: at for at, item in enumerate(ranking)}
        for i, j in itertools.combinations(order, 2):
            total += place.get(j, len(order)) < place.get(i, len(order))
    return total


@settings(max_examples=60)
@given(st.data())
def test_the_central_ranking_is_the_closest_of_all(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 5))
    orders = st.permutations(range(k)).flatmap(lambda p: st.integers(1, k).map(lambda n: p[:n]))
    rankings = data.draw(st.lists(orders, min_size=1, max_size=6))
    names = [str(i) for i in range(k)]
    every = sorted(itertools.permutations(range(k)), key=lambda o: (distance(o, rankings), o))
    assert tuple(kemeny(rankings, names)) == every[0]  # ties by name, too


def test_kemeny_and_borda_differ_where_they_should() -> None:
    """Three prefer a > b > c, two b > c > a: a pairwise majority puts a first, points put b first."""
    rankings = [[0, 1, 2]] * 3 + [[1, 2, 0]] * 2
    assert kemeny(rankings, "abc") == [0, 1, 2] and borda(rankings, "abc") == [1, 0, 2]


def test_margins_by_hand() -> None:
    assert margins([[1, 0, 2], [2]], 3) == [[0, 0, 1], [1, 0, 1], [1, 1, 0]]


def test_many_items_are_ranked_too() -> None:
    truth = list(range(20))
    noisy = []
    for at in range(9):
        ranking = truth.copy()
        ranking[at], ranking[at + 1] = ranking[at + 1], ranking[at]
        noisy.append(ranking)
    assert kemeny(noisy, [f"{i:02}" for i in truth]) == truth


# --------------------------------------------------------------------------------------------------- permute

LIST = "Sort these, smallest first.\n- 30\n- 4\n- 17\nGive the numbers of the lines."


def items(question: str) -> list[int]:
    return [int(n) for n in re.findall(r"^- (\d+)$", question, re.M)]


def biased(question: str) -> Mapping[str, float]:
    """Sorts, but always takes the item that stands first for the smallest."""
    numbers = items(question)
    order = sorted(range(len(numbers)), key=lambda i: (i != 0, numbers[i]))
    return {"A: " + " > ".join(f"[{i + 1}]" for i in order): 1.0}


def ranked(answer: Any, prompt: str) -> list[int]:
    return [items(prompt)[int(n) - 1] for n in re.findall(r"\d+", answer.final)]


@pytest.mark.parametrize("join", ["kemeny", "borda"])
def test_all_orders_make_up_for_the_bias_of_one(join: str) -> None:
    for order in itertools.permutations(("30", "4", "17")):
        prompt = "Sort these.\n" + "\n".join(f"- {item}" for item in order) + "\nNow."
        one, _ = run(Once(), biased, prompt)
        answer, said = run(Permute(n=6, join=join), biased, prompt)
        assert ranked(answer, prompt) == [4, 17, 30] and len({e.question for e in said}) == 6
        assert (ranked(one, prompt) == [4, 17, 30]) == (order[0] == "4")


def torn(question: str) -> Mapping[str, float]:
    """Ranks by where the items stand alone: all orders together are one big tie."""
    return {"A: " + " > ".join(str(i + 1) for i in range(len(items(question)))): 1.0}


def test_a_tie_does_not_depend_on_the_order_given() -> None:
    found = set()
    for order in itertools.permutations(("30", "4", "17")):
        prompt = "Sort.\n" + "\n".join(f"- {item}" for item in order) + "\nNow."
        found.add(tuple(ranked(run(Permute(n=6, join="kemeny"), torn, prompt)[0], prompt)))
    assert len(found) == 1


def test_the_vote_of_all_orders_does_not_depend_on_the_order_given() -> None:
    def script(question: str) -> Mapping[str, float]:
        return {f"A: {items(question)[0]}": 1.0}  # three answers, two votes each: a tie

    finals = set()
    for order in itertools.permutations(("30", "4", "17")):
        prompt = "Sort.\n" + "\n".join(f"- {item}" for item in order) + "\nNow."
        finals.add(run(Permute(n=6), script, prompt)[0].final)
    assert len(finals) == 1


def test_fewer_orders_are_distinct_draws_by_the_seed() -> None:
    def orders(seed: int) -> list[str]:
        return [e.question for e in run(Permute(n=4), biased, LIST, seed)[1]]

    assert orders(1) == orders(1) and len(set(orders(1))) == 4
    assert len({tuple(orders(seed)) for seed in range(5)}) == 5


def test_every_order_is_as_likely_as_any_other() -> None:
    counts: dict[str, int] = {}
    for seed in range(180):
        part, prompt = Permute(n=1), LIST
        [said] = run(part, biased, prompt, seed)[1]
        counts[said.question] = counts.get(said.question, 0) + 1
    assert len(counts) == 6
    assert sum((n - 30) ** 2 / 30 for n in counts.values()) < 20.5  # chi-square, 5 degrees, p = 0.001


def test_premises_move_and_the_question_stays() -> None:
    prompt = "Ann has 2.5 kg. Bob has 3 kg! Is that all? Who has more?"
    spans = places(prompt, "sentences")
    assert [prompt[a:b] for a, b in spans] == ["Ann has 2.5 kg.", "Bob has 3 kg!", "Is that all?"]
    assert moved(prompt, spans, [2, 0, 1]) == "Is that all? Ann has 2.5 kg. Bob has 3 kg! Who has more?"
    assert moved(prompt, spans, [0, 1, 2]) == prompt


def test_marks_of_a_list_stay_in_their_places() -> None:
    prompt = "Pick:\n1. x\n2. y\n(3) z\nDone"
    assert moved(prompt, places(prompt, "list"), [2, 0, 1]) == "Pick:\n1. z\n2. x\n(3) y\nDone"


def test_a_ranking_is_read_in_the_numbers_of_its_own_prompt() -> None:
    assert read_ranking("[2] > [1] > [3]", [2, 0, 1]) == [0, 2, 1]
    assert read_ranking("2 > 2 > 1", [1, 0]) == [0, 1]
    assert read_ranking("none", [0, 1]) is None and read_ranking(None, [0]) is None
    assert read_ranking("3 > 1", [0, 1]) is None


def test_what_ranks_nothing_is_left_out() -> None:
    def script(question: str) -> Mapping[str, float]:
        return {"I cannot.": 1.0} if items(question)[0] == 30 else biased(question)

    answer, _ = run(Permute(n=6, join="kemeny"), script, LIST)
    assert ranked(answer, LIST) == [17, 4, 30]  # two say 4 first, two 17: a tie, by name
    assert answer.score == pytest.approx(4 / 6)
    nothing, _ = run(Permute(n=6, join="kemeny"), lambda q: {"I cannot.": 1.0}, LIST)
    assert nothing.final is None


def test_a_question_without_a_list() -> None:
    with pytest.raises(BadInput, match="needs a list of items"):
        run(Permute(join="kemeny"), biased, "What is 1 + 1?")
    answer, said = run(Permute(), lambda q: {"A: 2": 1.0}, "What is 1 + 1?")
    assert len(said) == 1 and [d.what for d in answer.receipt.degradations] == ["permute"]


def test_what_is_nested_sees_the_permuted_question() -> None:
    """A critic below a permutation must not be shown the order given."""
    script = lambda q: {"No mistakes." if "Check" in q else "A: 1": 1.0}  # noqa: E731
    _, said = run(Permute(n=6, inner=Refine(rounds=1)), script, LIST)
    asked = [e.question for e in said if "Check" not in e.question]
    checked = [e.question for e in said if "Check" in e.question]
    assert sorted(items(q) for q in asked) == sorted(items(q) for q in checked)
    assert len({tuple(items(q)) for q in checked}) == 6


# ---------------------------------------------------------------------------------------------- batch_prompt

SHARED = "Add the two numbers. For example 1 and 1 make 2, and 2 and 3 make 5.\n"
SUMS = SHARED + "\n".join(f"Q[{i}]: {i} and {i}" for i in range(1, 9))


def adder(question: str) -> Mapping[str, float]:
    found = re.findall(r"^Q\[(\d+)\]: (\d+) and (\d+)$", question, re.M)
    return {"\n".join(f"A[{i}]: {int(a) + int(b)}" for i, a, b in found): 1.0}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_batches_share_what_comes_first(size: int) -> None:
    answer, said = run(BatchPrompt(size=size), adder, SUMS)
    assert answer.final == "; ".join(f"{i}: {2 * i}" for i in range(1, 9)) and answer.score == 1.0
    assert len(said) == math.ceil(8 / size)
    read = len(SUMS) + 2 + sum(len(e.question) + 2 for e in said)
    assert answer.receipt.logical.read == read
    assert sum(SHARED in e.question for e in said) == len(said)


def test_a_question_without_an_answer_is_asked_alone() -> None:
    def forgets(question: str) -> Mapping[str, float]:
        [reply] = adder(question)
        return {reply if reply.count("\n") == 0 else reply.partition("\n")[0]: 1.0}

    answer, said = run(BatchPrompt(size=4), forgets, SUMS)
    assert answer.score == 1.0 and len(said) == 2 + 6
    once, _ = run(BatchPrompt(size=4, again=False), forgets, SUMS)
    assert once.final.startswith("1: 2; 2: ?; 3: ?; 4: ?; 5: 10; 6: ?") and once.score == 0.25


def test_answers_are_read_by_their_number() -> None:
    assert answers_in("A[2]: b\nA[1]: a\nA[9]: z\nA[3]:\n", range(1, 4)) == {1: "a", 2: "b"}
    assert answers_in("A[1]: a\nA[1]: b", range(1, 3)) == {}
    assert answers_in("A[1]: a\nA[1]: a", range(1, 3)) == {1: "a"}


def test_questions_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(BadInput, match=r"begin with Q\[1\]"):
        run(BatchPrompt(), adder, "What is 1 + 1?")
    with pytest.raises(BadInput, match=r"two questions Q\[1\]"):
        run(BatchPrompt(), adder, "Q[1]: a\nQ[1]: b")


# ------------------------------------------------------------------------------------------------ read_twice


def test_the_question_is_read_twice_and_paid_for() -> None:
    prompt = "What is 1 + 1?"
    answer, said = run(ReadTwice(), lambda q: {"A: 2" if q.count(prompt) == 2 else "A: 3": 1.0}, prompt)
    assert answer.final == "2" and [e.question for e in said] == [f"{prompt}\n\n{prompt}"]
    assert answer.receipt.logical.read == (len(prompt) + 2) + (2 * len(prompt) + 2 + 2)


def test_where_it_does_not_fit_it_is_read_once_and_said() -> None:
    answer, said = run(ReadTwice(), lambda q: {"A: 2": 1.0}, "What is 1 + 1?", context=28)
    assert len(said) == 1 and [d.what for d in answer.receipt.degradations] == ["read_twice"]
