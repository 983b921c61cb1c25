"""Texts that others have written are written again without passes: the same texts, the same logical books."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from scripted import STRATEGIES, ask, engine, told

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.errors import Misuse
from outthink.core.jobs import PassJob
from outthink.core.tasks import gather, race
from outthink.core.types import Answer, Budget, Sampling
from outthink.engine import walk
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace
from outthink.strategy.once import Once

SURE = Sampling(temperature=0.0, max_tokens=40, ignore_eos=True)


@dataclass(frozen=True)
class Twice:
    """The same text `n` times after the first, side by side or in a race."""

    n: int = 1
    races: bool = False
    sampling: Sampling = SURE

    async def __call__(self, root: Branch, /) -> Answer:
        first = root.fork()[0]
        await first.generate(self.sampling)
        forks = root.fork(self.n)
        both = [branch.generate(self.sampling) for branch in forks]
        await (race(*both) if self.races else gather(*both))
        alike = self.races or self.sampling.temperature > 0
        assert alike or all(branch.text() == first.text() for branch in forks)
        return Answer(first.text())


class Passes(Trace):
    """Rows of every pass, and what was heard to be written."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.heard: dict[Branch, list[int]] = {}

    def passed(self, info: Any) -> None:
        self.rows.append(info.rows)

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        self.heard.setdefault(branch, []).extend(tokens)
        assert self.heard[branch] == branch.tokens


def play(strategy: Any, trace: Trace | None = None, **given: Any) -> Answer:
    one = Engine(toy(hashed(6, seed=2), 6), trace=trace)
    answer = one.run(Request(strategy, "ab", **given))
    one.main.tree.check()
    assert not any(node.cursors for node in one.main.tree.nodes())
    return answer


@pytest.mark.parametrize("strategy", [*STRATEGIES, Twice(3, sampling=Sampling(max_tokens=9))], ids=repr)
@pytest.mark.parametrize("budget", [Budget(), Budget(written=17), Budget(positions=12)], ids=repr)
def test_same_answer_and_books_without_walking(
    strategy: Any, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    walking = [told(engine().run(ask(strategy, budget, seed))) for seed in range(3)]
    monkeypatch.setattr(walk, "MOST", 0)
    assert [told(engine().run(ask(strategy, budget, seed))) for seed in range(3)] == walking


@pytest.mark.parametrize("n", [1, 3])
def test_what_is_known_takes_no_pass(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told_of = Passes()
    answer = play(Twice(n), told_of)
    assert answer.receipt is not None and answer.receipt.actual.written == 40 * (1 + n)
    assert 0 not in told_of.rows and sum(map(len, told_of.heard.values())) == 40 * (1 + n)
    monkeypatch.setattr(walk, "MOST", 0)
    slow = Passes()
    play(Twice(n), slow)
    assert slow.rows.count(0) == 40, "pass by pass, each without a row"


def test_a_long_walk_has_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many tokens at the start, then so many and one more after each pass."""
    monkeypatch.setattr(walk, "MOST", 12)
    told_of = Passes()
    play(Twice(2), told_of)
    assert told_of.rows.count(0) == 3  # 12 + 13 + 13 + 2


def test_contestants_go_pass_by_pass() -> None:
    told_of = Passes()
    play(Twice(2, races=True), told_of)
    assert told_of.rows.count(0) == 40


def test_a_cache_that_another_engine_has_taken_is_not_drawn_from() -> None:
    backend = toy(hashed(6, seed=2), 6)
    first, second = Engine(backend), Engine(backend)
    request = Request(Once(), "ab", sampling=Sampling(max_tokens=1))  # all of it is known the second time
    first.run(request)
    second.run(Request(Twice(), "b"))
    with pytest.raises(Misuse, match="another engine has run on this backend"):
        first.run(request)


@dataclass(frozen=True, eq=False)
class Raises:
    """A warp that does not bear to be asked more than so often."""

    most: int
    asked: list[int]

    def start(self, prompt: Sequence[int]) -> None:
        return None

    def next(self, state: None, token: int) -> None:
        return None

    def __call__(self, logits: Any, states: Sequence[None]) -> Any:
        self.asked.append(len(states))
        if len(self.asked) > self.most:
            raise ArithmeticError("asked too often")
        return logits


def test_an_error_on_the_way_is_that_request_s() -> None:
    one = Engine(toy(hashed(6, seed=2), 6))
    sampling = Sampling(temperature=0.0, max_tokens=40, ignore_eos=True, warps=(Raises(50, []),))
    bad, good = Request(Twice(sampling=sampling), "ab"), Request(Twice(), "ba")
    [first, second] = sorted(one.map([bad, good]), key=lambda done: done.request is good)
    assert isinstance(first.error, ArithmeticError) and second.error is None
    one.main.tree.check()


def test_jobs_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted at the backend, not by what the engine tells."""
    jobs: list[PassJob] = []
    backend = toy(hashed(6, seed=2), 6)
    submit = backend.submit
    monkeypatch.setattr(backend, "submit", lambda given, inbox: (jobs.extend(given), submit(given, inbox)))
    Engine(backend).run(Request(Twice(3), "ab"))
    assert not any(job.reuse for job in jobs) and all(job.batch.tokens for job in jobs)
