"""Noise of the step checker under a seed of its own: one word on one text, live and recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

import outthink as ot
from outthink.bench.replay.estimate import judge_recorded
from outthink.bench.replay.reading import Recorded
from outthink.bench.tasks import load
from outthink.core.judging import judge
from outthink.core.samples import Sampled
from outthink.core.types import Answer, Candidate, Score
from outthink.engine.request import Request
from outthink.verify import Steps

TASK = load("steps")
NOISY, PLAIN = Steps(noise=0.3, seed=0), Steps()


def heard(verifier: Steps, index: int, text: str, place: int = 0) -> Score:
    """What it says of a recorded text of a problem."""
    problem = TASK.problem("test", index)
    sample = Sampled("7" if "A:" in text else None, text, place=place)
    own = Recorded(problem.id, problem, (sample,), (True,), (1,))
    return judge_recorded(verifier, [(sample, own)])[0]


def test_verdicts_are_wrong_at_the_given_rate() -> None:
    """The flips of some 1,500 lines: the standard error of the rate is 0.012."""
    wrong, lines = 0, 0
    for index in range(320):
        text = TASK.problem("test", index).secret.solution
        noisy, plain = heard(NOISY, index, text).steps, heard(PLAIN, index, text).steps
        wrong, lines = wrong + sum(a != b for a, b in zip(noisy, plain, strict=True)), lines + len(plain)
    assert lines > 1400 and abs(wrong / lines - 0.3) < 0.04


def test_equal_texts_hear_the_same_and_other_problems_and_seeds_another() -> None:
    text = TASK.problem("test", 1).secret.solution
    assert len({heard(NOISY, 1, text, place).steps for place in range(20)}) == 1
    assert len({heard(dataclasses.replace(NOISY, seed=seed), 1, text).steps for seed in range(20)}) > 3
    flips = {
        tuple(a == b for a, b in zip(heard(NOISY, i, text).steps, heard(PLAIN, i, text).steps, strict=True))
        for i in range(20)
    }
    assert len(flips) > 3


def test_a_verdict_stays_as_the_text_goes_on() -> None:
    for index in range(20):
        lines = TASK.problem("test", index).secret.solution.splitlines(keepends=True)
        whole = heard(NOISY, index, "".join(lines)).steps
        for n in range(1, len(lines)):
            assert heard(NOISY, index, "".join(lines[:n])).steps[:n] == whole[:n]


@dataclasses.dataclass(frozen=True)
class Twice:
    """Judge one text on two branches."""

    async def __call__(self, root: ot.Branch, /) -> Answer:
        async def one(branch: ot.Branch) -> Score:
            await branch.extend("1 + 2 = 3\nA: 7")
            answer = Answer(branch.text(), "7")
            [score] = await judge(NOISY, [branch.candidate(answer)])
            return score

        scores: Sequence[Score] = await ot.gather(*map(one, root.fork(2)))
        assert scores[0] == scores[1] == heard(NOISY, 5, "1 + 2 = 3\nA: 7")
        return Answer("same")


def test_live_and_recorded_are_told_the_same() -> None:
    lm = ot.load("pocket-mini", threads=1)
    assert lm.run(Request(Twice(), TASK.problem("test", 5), seed=7)).text == "same"


def test_a_candidate_without_a_problem_is_refused() -> None:
    with pytest.raises(ot.BadInput, match="step checker"):
        NOISY([Candidate("x")]).send(None)
