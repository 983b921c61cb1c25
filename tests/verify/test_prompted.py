"""Verifiers that ask a model: what counts as a verdict, exact probabilities, exact costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.judging import judge
from outthink.core.types import Answer, Can, Candidate, Sampling, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import BestOfN
from outthink.testing.scripted import Transcript, scripted
from outthink.verify import Combine, Exact, Judge, Likelihood, SelfEval
from outthink.verify.judge import verdict

VERDICTS: list[tuple[str, float | None]] = [
    ("It adds up.\nVerdict: correct", 1.0),
    ("**Verdict:** incorrect.", 0.0),
    ("verdict: Correct\n", 1.0),
    ("Score: 7", 0.7),
    ("Score: 7.5/10", 0.75),
    ("The verdict: correct is not what I would say", None),
    ("I think it is correct.", None),
    ("Verdict: correct or incorrect", None),
    ("Verdict: correct\nOn reflection.\nVerdict: incorrect", None),
    ("Verdict: correct\nAs I said.\nVerdict: correct", 1.0),
    ("Score: 11", None),
    ("Score: -1", None),
    ("Score: 5\nScore: 6", None),
    ("Verdict: not correct", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "said"), VERDICTS)
def test_only_a_line_that_is_a_verdict_is_one(text: str, said: float | None) -> None:
    assert verdict(text) == said


def run(script: Any, strategy: Any, sampling: Sampling | None = None, **options: Any) -> Any:
    engine = Engine(scripted(script, **options))
    return engine.run(Request(strategy, "What is 1 + 1?", sampling=sampling or Sampling(temperature=1.0)))


def grader(question: str) -> Mapping[str, float]:
    """Answers 2 or 3, and knows which is right."""
    if question.startswith("What"):
        return {"A: 2": 0.4, "A: 3": 0.6}
    return {"Verdict: correct" if "A: 2" in question else "Verdict: incorrect": 1.0}


def test_a_judge_picks_the_right_answer_and_its_tokens_are_on_the_receipt() -> None:
    answer = run(grader, BestOfN(Judge(), n=6))
    right = sum(a.final == "2" for a in (answer, *answer.others))
    wrong = 6 - right
    spent = right * len("Verdict: correct.") + wrong * len("Verdict: incorrect.")  # one end token each
    assert answer.final == "2" and answer.score == 1.0
    assert answer.receipt.by_scope["run/verify"].written == spent
    assert answer.receipt.by_scope["run/verify"].verified == answer.receipt.logical.verified == 6
    assert answer.receipt.logical.written == spent + 6 * len("A: 2.")


def test_a_verdict_that_cannot_be_read_is_asked_for_again_and_then_is_no_word() -> None:
    def mumbles(question: str) -> Mapping[str, float]:
        return {"A: 2": 1.0} if question.startswith("What") else {"Well.": 1.0}

    engine, trace = None, Transcript()
    engine = Engine(scripted(mumbles), trace=trace)
    answer = engine.run(Request(BestOfN(Judge(tries=3), n=1), "What is 1 + 1?"))
    assert answer.score == -math.inf and [e.reply for e in trace.exchanges].count("Well.") == 3
    assert "no verdict" not in answer.text
    assert [d.what for d in answer.receipt.degradations] == ["judge"]


def test_a_reply_that_was_cut_has_no_verdict() -> None:
    """`Verdict: incorrect` cut after ten tokens must not be read, nor `Score: 10` as `Score: 1`."""

    def scores(question: str) -> Mapping[str, float]:
        return {"A: 2": 1.0} if question.startswith("What") else {"Score: 10": 1.0}

    assert run(scores, BestOfN(Judge(max_tokens=8), n=1)).score == -math.inf
    assert run(scores, BestOfN(Judge(max_tokens=9), n=1)).score == -math.inf  # it may have gone on
    assert run(scores, BestOfN(Judge(max_tokens=10), n=1)).score == 1.0


def test_the_mean_of_n_verdicts_is_unbiased() -> None:
    def coin(question: str) -> Mapping[str, float]:
        if question.startswith("What"):
            return {"A: 2": 1.0}
        return {"Verdict: correct": 0.3, "Verdict: incorrect": 0.7}

    score = run(coin, BestOfN(Judge(n=400), n=1)).score
    assert abs(score - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 400)


def test_another_model_of_the_engine_may_judge() -> None:
    engine = Engine(scripted(lambda question: {"A: 2": 1.0}))
    engine.add(scripted(lambda question: {"Verdict: correct": 1.0}, name="grader"))
    for part in (Judge(model="grader"), SelfEval(model="grader", yes="Verdict: c", no="Verdict: i")):
        answer = engine.run(Request(BestOfN(part, n=1), "What is 1 + 1?"))
        assert answer.score == 1.0
    with pytest.raises(BadInput, match="no model in this engine named 'greder'"):
        engine.run(Request(BestOfN(Judge(model="greder"), n=1), "What is 1 + 1?"))


def test_braces_in_an_answer_stay_what_they_are() -> None:
    def script(question: str) -> Mapping[str, float]:
        if question.startswith("What"):
            return {"A: {question} {0}": 1.0}
        assert question.count("What is 1 + 1?") == 1 and "A: {question} {0}" in question
        return {"Verdict: correct": 1.0}

    assert run(script, BestOfN(Judge(), n=1)).score == 1.0


def test_a_question_that_does_not_fit_is_no_word_and_said() -> None:
    answer = run(grader, BestOfN(Judge(), n=1), context=60)
    assert answer.score == -math.inf and "does not fit" in answer.receipt.degradations[0].why


def test_recorded_candidates_have_nobody_to_ask() -> None:
    class Replay:
        async def __call__(self, root: Branch, /) -> Answer:
            await judge(Judge(), [Candidate("x", root.problem)])
            return Answer("")

    with pytest.raises(BadInput, match="no branch to ask from"):
        run(grader, Replay())


def truthful(question: str) -> Mapping[str, float]:
    if question.startswith("What"):
        return {"A: 2": 1.0}
    return {"True": 0.3, "False": 0.1, "Trouble": 0.6}


def test_p_true_is_that_of_the_whole_texts() -> None:
    """`Trouble` shares its first two bytes with `True`: a first token alone would give 0.9."""
    answer = run(truthful, BestOfN(SelfEval(), n=1))
    assert answer.score == pytest.approx(0.75, abs=1e-12)
    assert answer.receipt.by_scope["run/verify"].written == 0


def test_p_true_does_not_depend_on_temperature() -> None:
    sampling = Sampling(temperature=0.1, top_k=1)
    assert run(truthful, BestOfN(SelfEval(), n=1), sampling).score == pytest.approx(0.75, abs=1e-12)


def test_p_true_of_impossible_words_is_an_error() -> None:
    with pytest.raises(BadInput, match="neither 'Yes' nor 'No'"):
        run(truthful, BestOfN(SelfEval(yes="Yes", no="No"), n=1))


def test_p_true_needs_a_backend_that_scores() -> None:
    with pytest.raises(BadInput, match="needs score"):
        run(truthful, BestOfN(SelfEval(), n=1), can=Can.GENERATE)


class Fixed:
    """Gives each candidate these values, and remembers its batches."""

    records = ("entropy",)

    def __init__(self, *values: float) -> None:
        self.values, self.batches = values, 0

    async def __call__(self, candidates: Any, /) -> list[Score]:
        self.batches += 1
        return [Score(v, passed=v > 0.5) for v in self.values]


JOINED: list[tuple[dict[str, Any], tuple[float, float], float]] = [
    ({}, (0.2, 0.6), 0.4),
    ({"weights": (3.0, 1.0)}, (0.2, 0.6), 0.3),
    ({"how": "min"}, (0.2, 0.6), 0.2),
    ({"how": "product"}, (0.2, 0.6), 0.12),
    ({"how": "product", "weights": (2.0, 1.0)}, (0.2, 0.6), 0.024),
    ({"how": "product"}, (0.0, -math.inf), -math.inf),
    ({"how": "min"}, (0.0, -math.inf), -math.inf),
]


def combined(part: Combine, n: int) -> tuple[list[Score], Any]:
    found: list[Score] = []

    class Call:
        async def __call__(self, root: Branch, /) -> Answer:
            found.extend(await judge(part, [Candidate("x", root.problem)] * n))
            return Answer("")

    receipt = run(grader, Call()).receipt
    return found, receipt


@pytest.mark.parametrize(("how", "values", "joined"), JOINED)
def test_scores_are_joined(how: dict[str, Any], values: tuple[float, float], joined: float) -> None:
    [score], _ = combined(Combine((Fixed(values[0]), Fixed(values[1])), **how), 1)  # type: ignore[arg-type]
    assert score.value == pytest.approx(joined, abs=1e-12)


def test_each_part_is_called_once_with_the_whole_batch_and_counted_once() -> None:
    parts = Fixed(0.1, 0.9, 0.5), Fixed(0.2, 0.8, 0.5)
    scores, receipt = combined(Combine(parts), 3)  # type: ignore[arg-type]
    assert [p.batches for p in parts] == [1, 1]
    assert [s.value for s in scores] == pytest.approx([0.15, 0.85, 0.5])
    assert [s.passed for s in scores] == [False, True, False]
    assert receipt.logical.verified == 6


def test_a_product_of_negative_scores_is_refused() -> None:
    with pytest.raises(Exception, match="product of negative scores"):
        combined(Combine((Fixed(-1.0), Fixed(0.5)), how="product"), 1)  # type: ignore[arg-type]


def test_what_the_parts_record_is_recorded() -> None:
    assert Combine((Exact(), Likelihood())).records == ()
    assert Combine((Fixed(1.0), Fixed(1.0))).records == ("entropy",)  # type: ignore[arg-type]
