"""Estimates from recorded samples equal brute force over subsets; laws recover what they were made of."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from outthink.bench.replay.curves import leads, point, sizes, systems
from outthink.bench.replay.estimate import Replay, credit, judge_recorded, prepare
from outthink.bench.replay.found import Asked, replay
from outthink.bench.replay.reading import Recorded, read
from outthink.bench.replay.scaling import (
    Errors,
    PowerLaw,
    Verdicts,
    best_number,
    fit_power_law,
    measured,
    predicted,
    predicted_by_problem,
    rates,
)
from outthink.core.errors import BadInput
from outthink.core.samples import Choice
from outthink.spec import parse
from outthink.stats import best_at_k, pass_at_k

LINES = [
    {"id": "p", "answer": "1", "reference": "1", "tokens": 10, "logprob": -1.0, "score": 0.2},
    {"id": "p", "answer": "2", "reference": "1", "tokens": 5, "logprob": -2.0, "score": 0.9},
    {"id": "p", "answer": "1.0", "reference": "1", "tokens": 8, "logprob": -4.0, "score": 0.9},
    {"id": "p", "answer": None, "reference": "1", "tokens": 3, "logprob": -0.5, "score": 1.0},
    {"id": "p", "answer": "2", "reference": "1", "tokens": 7, "logprob": -3.0, "score": 0.4},
    {"id": "p", "answer": "3", "reference": "1", "tokens": 9, "logprob": -2.5, "score": 0.9},
]


def written(tmp_path: Path, lines: Sequence[Any]) -> Path:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    return path


def prepared(tmp_path: Path, selector: str | None, lines: Sequence[Any] = LINES) -> Replay:
    path = written(tmp_path, lines)
    return prepare(str(selector), parse(selector) if selector else None, read(path), str(path))


ANSWERS = ["1", "2", "1", None, "2", "3"]
RIGHT = [True, False, True, False, False, False]
SCORES = [0.2, 0.9, 0.9, 1.0, 0.4, 0.9]
LENGTHS = [10, 5, 8, 3, 7, 9]


def voted(drawn: Sequence[int]) -> float:
    """A tie is shared; whoever says nothing has no vote."""
    heard = [ANSWERS[i] for i in drawn if ANSWERS[i] is not None]
    top = [name for name in set(heard) if heard.count(name) == max(map(heard.count, heard))]
    return ("1" in top) / len(top) if top else 0.0


def best(drawn: Sequence[int]) -> float:
    top = [i for i in drawn if SCORES[i] == max(SCORES[j] for j in drawn)]
    return sum(RIGHT[i] for i in top) / len(top)


def shortest(drawn: Sequence[int]) -> float:
    return float(RIGHT[min(drawn, key=lambda i: LENGTHS[i])])


def any_right(drawn: Sequence[int]) -> float:
    return float(any(RIGHT[i] for i in drawn))


@pytest.mark.parametrize(
    ("selector", "value"),
    [
        ("vote", voted),
        ("best_of_n(verifier=recorded())", best),
        ("short(m=1)", shortest),
        ("complexity_vote(share=1.0)", voted),
        (None, any_right),
    ],
)
@pytest.mark.parametrize("k", range(1, 7))
def test_an_estimate_is_the_mean_over_all_subsets(
    tmp_path: Path, selector: str | None, value: Callable[[Sequence[int]], float], k: int
) -> None:
    subsets = list(itertools.combinations(range(6), k))
    found = prepared(tmp_path, selector).at(0, k, draws=1000)
    assert found.right == pytest.approx(sum(map(value, subsets)) / len(subsets), abs=1e-12)
    assert found.error == 0.0


def test_drawn_subsets_are_unbiased_and_know_their_error(tmp_path: Path) -> None:
    """The same selector, counted in full and by draws: within three standard errors, at many seeds."""
    made = prepared(tmp_path, "complexity_vote(share=1.0)")
    truth = made.at(0, 3, draws=1000).right
    draws = [made.at(0, 3, draws=15, seed=seed) for seed in range(60)]
    gaps = [(d.right - truth) / d.error for d in draws if d.error]
    assert len(gaps) > 50 and sum(abs(g) < 2 for g in gaps) >= 0.85 * len(gaps)
    assert abs(sum(d.right for d in draws) / 60 - truth) < 4 * 0.5 / math.sqrt(60 * 15)
    assert made.at(0, 3, draws=15, seed=1) == made.at(0, 3, draws=15, seed=1)


@pytest.mark.parametrize(
    "selector",
    [
        "vote",
        "best_of_majority(verifier=recorded(), share=0.3)",
        "best_of_majority(verifier=recorded(), k=2)",
        "perplexity_consistency",
        "short(m=2)",
        "adaptive_vote(wave=2)",
        "weighted_vote(verifier=recorded())",
    ],
)
def test_the_order_of_the_lines_is_worth_nothing(tmp_path: Path, selector: str) -> None:
    shuffled = list(LINES)
    random.Random(3).shuffle(shuffled)
    for k in (2, 3, 4):
        one, other = (prepared(tmp_path, selector, ls).at(0, k, draws=1000) for ls in (LINES, shuffled))
        assert one.right == pytest.approx(other.right, abs=1e-12)
        assert one.written == pytest.approx(other.written)


def test_a_stopping_rule_is_charged_for_what_it_drew(tmp_path: Path) -> None:
    """Three equal answers, waves of one: sure at 87.5 % after two."""
    same = [{"id": "p", "answer": "1", "reference": "1", "tokens": 10}] * 4
    found = prepared(tmp_path, "adaptive_vote(wave=1, confidence=0.85)", same).at(0, 4)
    assert (found.right, found.used, found.written) == (1.0, 2.0, 20.0)


def test_short_is_charged_until_its_last_winner_ends(tmp_path: Path) -> None:
    lines = [{"id": "p", "answer": "1", "reference": "1", "tokens": n} for n in (9, 4, 6)]
    # a loser is killed at the winner's length, one token later if it comes before it: in half of all orders
    assert prepared(tmp_path, "short(m=1)", lines).at(0, 3).written == 4 + 2 * 4.5
    assert prepared(tmp_path, "short(m=3)", lines).at(0, 3).written == 19


def test_ties_share_the_credit() -> None:
    right = [True, False, False]
    assert credit(Choice((0,), (0, 1), 1.0), right) == 0.5
    assert credit(Choice((1, 0), (0, 2), 1.0), right) == 0.5  # one sure pick, one of two by lot
    assert credit(Choice((0, 1), (1, 2), 1.0), right) == 1.0
    assert credit(Choice((1, 2), (0, 1, 2), 1.0), right) == pytest.approx(2 / 3)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_best_at_k_is_brute_force(k: int) -> None:
    subsets = list(itertools.combinations(range(6), k))
    assert best_at_k(SCORES, RIGHT, k) == pytest.approx(sum(map(best, subsets)) / len(subsets), abs=1e-12)


def test_recorded_systems(data_dir: Path) -> None:
    problems = read(data_dir / "gsm8k" / "example_model_solutions.jsonl")
    found = {s.system: round(100 * s.accuracy, 2) for s in systems(problems)}
    assert len(problems) == 1319 and round(found.pop("any of them"), 1) == 67.2
    assert found == {
        "6b_finetuning": 21.68,
        "6b_verification": 39.04,
        "175b_finetuning": 34.72,
        "175b_verification": 56.25,
    }


WRONG = [
    ('{"id": "p", "answer": "1"', 1, "not JSON"),
    ("[1]", 1, "not an object"),
    ({"answer": "1", "reference": "1"}, 1, "no field 'id'"),
    ({"id": "p", "reference": "1"}, 1, "no field 'answer' and no field 'text'"),
    ({"id": "p", "answer": "1"}, 1, "no field 'reference' and no field 'correct'"),
    ({"id": "p", "answer": ["1"], "reference": "1"}, 1, "field 'answer'"),
    ({"id": "p", "answer": "1", "reference": "1", "tokens": -1}, 1, "field 'tokens'"),
    ({"id": "p", "answer": "1", "reference": "1", "tokens": True}, 1, "field 'tokens'"),
    ({"id": "p", "answer": "1", "reference": "1", "logprob": 0.5}, 1, "field 'logprob'"),
    ('{"id": "p", "answer": "1", "reference": "1", "logprob": NaN}', 1, "field 'logprob'"),
    ('{"id": "p", "answer": "1", "reference": "1", "score": Infinity}', 1, "field 'score'"),
    ({"id": "p", "answer": "1", "reference": "1", "stats": {"certainty": 1}}, 1, "field 'stats.certainty'"),
    ({"id": "p", "reference": "1", "samples": []}, 1, "field 'samples'"),
    ({"id": "p", "reference": "1", "samples": ["1"]}, 1, "field 'samples'"),
    ({"question": "q", "ground_truth": "none", "x": {"solution": "A: 1"}}, 1, "field 'ground_truth'"),
    ({"id": "p", "task": "stepz", "index": 0, "answer": "1"}, 1, "field 'task'"),
]


@pytest.mark.parametrize(("line", "number", "message"), WRONG, ids=[w[2] for w in WRONG])
def test_bad_lines_are_named(tmp_path: Path, line: Any, number: int, message: str) -> None:
    path = written(tmp_path, [line])
    with pytest.raises(BadInput) as told:
        read(path)
    assert f"{str(path)!r} line {number}: " in str(told.value) and message in str(told.value)


def test_duplicates_are_named(tmp_path: Path) -> None:
    group = {"id": "p", "reference": "1", "samples": [{"answer": "1"}]}
    with pytest.raises(BadInput, match=r"line 2: field 'id': 'p' was on line 1 already"):
        read(written(tmp_path, [group, group]))
    numbered = {"id": "p", "answer": "1", "reference": "1", "sample": 0}
    with pytest.raises(BadInput, match=r"line 2: field 'sample': 0 is given twice"):
        read(written(tmp_path, [numbered, numbered]))
    with pytest.raises(BadInput, match=r"line 2: field 'reference': 'p' has another one on line 1"):
        read(written(tmp_path, [LINES[0], {**LINES[1], "reference": "2"}]))


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("perplexity_consistency", "line 2: a sample has no 'logprob', which perplexity_consistency needs"),
        ("short", "line 2: a sample has no 'tokens'"),
        ("deep_conf", "line 1: a sample has no 'certainty'"),
        ("best_of_n(verifier=recorded('prm'))", "line 1: no recorded score named 'prm'"),
        ("best_of_n(verifier=steps())", "line 1: steps() needs a problem of a task"),
        ("greedy", "greedy needs a model"),
        ("vote(inner=sample())", "leave it out"),
        ("semantic_entropy", "give prompt=''"),
    ],
)
def test_what_a_selector_lacks_is_named(tmp_path: Path, selector: str, message: str) -> None:
    lines = [LINES[0], {"id": "p", "answer": "2", "reference": "1", "score": 1.0}]
    with pytest.raises(BadInput) as told:
        prepared(tmp_path, selector, lines)
    assert message in str(told.value)


def test_all_readable_forms_say_the_same(tmp_path: Path) -> None:
    one, other = {"id": 7, "text": "so\nA: 3", "reference": 3}, {"id": 7, "answer": 4, "reference": 3}
    flat = read(written(tmp_path, [one, other]))
    group = read(
        written(tmp_path, [{"id": 7, "reference": 3, "samples": [{"text": "so\nA: 3"}, {"answer": 4}]}])
    )
    assert [s.final for s in flat[0].samples] == [s.final for s in group[0].samples] == ["3", "4"]
    assert flat[0].right == group[0].right == (True, False)
    asked = read(written(tmp_path, [{"id": 1, "answer": "x", "correct": True}]))
    assert asked[0].right == (True,)


def test_problems_with_one_text_are_two(tmp_path: Path) -> None:
    line = {"question": "same", "ground_truth": "A: 1", "s": {"solution": "A: 1"}}
    assert len(read(written(tmp_path, [line, line]))) == 2


def test_a_noisy_checker_errs_by_text(tmp_path: Path) -> None:
    """At its rate over different texts; on equal ones alike, as it does live."""
    lines = [{"id": "p", "task": "steps", "index": 0, "text": f"1 + {i} = 0\nA: 2"} for i in range(200)] * 2
    [own] = read(written(tmp_path, lines))
    heard = [judge_recorded(parse("steps(noise=0.3)", "verify"), [(s, own)])[0].steps for s in own.samples]
    plain = judge_recorded(parse("steps()", "verify"), [(own.samples[0], own)])[0].steps
    flipped = (
        sum(a != b for steps in heard[:200] for a, b in zip(steps, plain, strict=True)) / 200 / len(plain)
    )
    assert abs(flipped - 0.3) < 0.08 and len(set(heard)) > 2
    assert heard[:200] == heard[200:]


# ------------------------------------------------------------------------------------------- the laws


@pytest.mark.parametrize(("a", "b"), [(0.9, 0.64), (2.0, 0.16), (5.0, 1.2)])
def test_a_power_law_is_recovered(a: float, b: float) -> None:
    ks = [1, 2, 4, 8, 16, 32]
    law = fit_power_law(ks, [math.exp(-a * k**-b) for k in ks])
    assert law.a == pytest.approx(a, rel=1e-6) and law.b == pytest.approx(b, rel=1e-6)


def test_a_noisy_power_law_is_the_least_squares_one() -> None:
    """No neighbour fits better; the straight line that it begins with fits worse."""
    chance = random.Random(1)
    ks = [1, 2, 4, 8, 16, 32, 64]
    data = [PowerLaw(1.5, 0.4)(k) + chance.uniform(-0.03, 0.03) for k in ks]
    law = fit_power_law(ks, data)

    def squares(a: float, b: float) -> float:
        return sum((PowerLaw(a, b)(k) - c) ** 2 for k, c in zip(ks, data, strict=True))

    for da, db in [(0.01, 0.0), (-0.01, 0.0), (0.0, 0.005), (0.0, -0.005), (0.01, 0.005), (-0.01, -0.005)]:
        assert squares(law.a + da, law.b + db) > squares(*law)


def test_too_little_for_a_law_is_said() -> None:
    with pytest.raises(ValueError, match="two numbers of samples"):
        fit_power_law([1, 2, 4], [0.5, 1.0, 1.0])


def simulated(p: float, errors: Errors, k: int, chance: random.Random) -> tuple[bool, bool, int]:
    """Draw until one passes: whether a right one did, a wrong one did, and how many were drawn."""
    for i in range(k):
        is_right = chance.random() < p
        if chance.random() < (errors.true_positive if is_right else errors.false_positive):
            return is_right, not is_right, i + 1
    return False, False, k


@pytest.mark.parametrize("k", [1, 3, 50])
def test_the_prediction_is_what_drawing_until_a_pass_gives(k: int) -> None:
    shares, errors, n = [0.1, 0.5, 0.8], Errors(0.7, 0.2), 4000
    problems = [Verdicts(10, round(10 * p), 0, 0) for p in shares]
    chance = random.Random(0)
    runs = [simulated(p, errors, k, chance) for p in shares for _ in range(n)]
    right, wrong, drawn = (sum(run[i] for run in runs) / len(runs) for i in range(3))
    said = predicted(problems, errors, k)
    assert said.right == pytest.approx(right, abs=0.015) and said.wrong == pytest.approx(wrong, abs=0.015)
    assert said.drawn == pytest.approx(drawn, rel=0.04)


def test_the_ceiling_is_below_one_and_reached() -> None:
    problems, errors = [Verdicts(10, 2, 0, 0), Verdicts(10, 6, 0, 0)], Errors(0.9, 0.1)
    ceiling = predicted(problems, errors, math.inf)
    assert ceiling.right == pytest.approx((0.18 / 0.26 + 0.54 / 0.58) / 2)
    assert ceiling.right + ceiling.wrong == pytest.approx(1)
    assert predicted(problems, errors, 1000).right == pytest.approx(ceiling.right)
    assert predicted(problems, Errors(0.9, 0.0), math.inf).right == 1.0


def test_measured_is_brute_force_over_orders() -> None:
    """Five samples: R right and passed, r right, W wrong and passed, w wrong."""
    samples = "RrWww"
    problem = Verdicts(5, 2, 1, 1)
    for k in range(1, 6):
        orders = list(itertools.permutations(samples, k))
        passed = [next((c for c in order if c in "RW"), "") for order in orders]
        drawn = [next((i + 1 for i, c in enumerate(order) if c in "RW"), k) for order in orders]
        found = measured([problem], k)
        assert found.right == pytest.approx(passed.count("R") / len(orders))
        assert found.wrong == pytest.approx(passed.count("W") / len(orders))
        assert found.drawn == pytest.approx(sum(drawn) / len(orders))
    own = predicted_by_problem([problem], math.inf)
    assert (own.right, own.wrong) == (0.5, 0.5)


def test_the_best_number_of_samples_is_finite_under_a_penalty() -> None:
    """Easy problems pass at once; later passes are mistakes on hard ones."""
    problems, errors = [Verdicts(10, 8, 0, 0), Verdicts(100, 1, 0, 0)], Errors(1.0, 0.1)

    def utility(k: int) -> float:
        return predicted(problems, errors, k).utility(2.0, 0.0)

    found = best_number(utility)
    assert found == max(range(200), key=lambda k: utility(k) if k else 0.0)
    assert 1 <= found < 10
    assert best_number(lambda k: predicted(problems, Errors(1.0, 0.0), k).utility(2.0, 0.0), 1000) == 1000
    assert best_number(lambda k: -1.0) == 0


def test_rates_need_both_kinds() -> None:
    assert rates([Verdicts(4, 2, 1, 1)]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="right and wrong"):
        rates([Verdicts(4, 4, 1, 0)])


def test_equal_budgets_compare_what_they_buy(tmp_path: Path) -> None:
    lines = [dict(line, id=f"p{i}") for i in range(5) for line in LINES]
    path = written(tmp_path, lines)
    found = replay(path, Asked({"vote": parse("vote"), "short(m=1)": parse("short(m=1)")}))
    for lead in found.leads:
        bought = [
            p for p in found.points if "any right" not in p.selector and p.written <= lead.budget + 1e-6
        ]
        assert lead.accuracy == max(p.accuracy for p in bought) and lead.spent <= lead.budget + 1e-6
        assert lead.baseline == "vote" and lead.low <= lead.difference <= lead.high
    assert leads([]) == []


def test_sizes_go_up_to_what_every_problem_has(tmp_path: Path) -> None:
    path = written(tmp_path, [*LINES, *[{"id": "q", "answer": "1", "reference": "1"}] * 3])
    problems = read(path)
    assert sizes(problems) == [1, 2, 3]
    with pytest.raises(BadInput, match="give 1 to 3, as many as problem 'q' has"):
        replay(path, Asked({"vote": parse("vote")}, ks=(4,)))


def test_coverage_over_problems_is_pass_at_k(tmp_path: Path) -> None:
    made = prepared(tmp_path, None)
    assert point(made, 2).accuracy == pytest.approx(pass_at_k(6, 2, 2))
    assert isinstance(made.problems[0], Recorded)
