"""steps(noise): the same text hears the same verdict, whoever wrote it; another seed hears another."""

from __future__ import annotations

from typing import Any

from outthink.backends.toy import hashed, toy
from outthink.bench.tasks import load
from outthink.core.branch import Branch
from outthink.core.judging import judge
from outthink.core.types import Answer, Candidate
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.verify import Steps

PROBLEM = load("steps").problem("test", 0)
LINES = PROBLEM.secret.solution.splitlines(keepends=True)


def heard(texts: list[str], seed: int) -> list[tuple[float, ...]]:
    """The verdicts on each text, each on a fork of its own."""
    found: list[tuple[float, ...]] = []

    class Call:
        async def __call__(self, root: Branch, /) -> Answer:
            branches = root.fork(len(texts))
            given: list[Any] = [
                Candidate(t, PROBLEM, "1" if "A:" in t else None, branch=b)
                for t, b in zip(texts, branches, strict=True)
            ]
            found.extend(score.steps for score in await judge(Steps(noise=0.4), given))
            return Answer("")

    Engine(toy(hashed(4), 4)).run(Request(Call(), "a", seed=seed))
    return found


def test_a_fork_hears_what_its_parent_heard() -> None:
    for seed in range(10):
        first, again, longer = heard(["".join(LINES[:3]), "".join(LINES[:3]), "".join(LINES[:4])], seed)
        assert first == again
        assert longer[:3] == first[:3]  # what follows changes nothing; the last is the missing answer


def test_a_separator_that_is_not_written_yet_changes_nothing() -> None:
    [cut, whole] = heard([LINES[0].rstrip(), LINES[0]], 1)
    assert cut == whole


def test_seeds_and_texts_err_on_their_own() -> None:
    by_seed = [heard([PROBLEM.secret.solution], seed)[0] for seed in range(60)]
    rate = sum(v == 0.0 for steps in by_seed for v in steps) / sum(map(len, by_seed))
    assert 0.3 < rate < 0.5 and len(set(by_seed)) > 10
    others = [f"{i} + 1 = {i + 1}\n" for i in range(100)]
    assert 0.25 < sum(steps[0] == steps[1] for steps in heard(others, 0)) / 100 < 0.75
