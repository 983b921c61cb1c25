"""Lulls: nobody is asked for a while where all who draft sleep and hope for nothing, whoever writes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest
from drafters import Asking, Listening
from scripted import told

from outthink.backends.toy import hashed, toy
from outthink.core.draft import Draft
from outthink.core.types import Answer, Sampling
from outthink.engine import place, steady
from outthink.engine.curve import Line
from outthink.engine.engine import Engine
from outthink.engine.lull import LULL, Lull
from outthink.engine.place import SKIPPED, UNSEEN
from outthink.engine.request import Request
from outthink.speculate.draft_model import DraftModel, DraftModelSource
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote

PASSES = 6  # of a lull on the engines here
SAMPLING = Sampling(temperature=1.0, max_tokens=48, ignore_eos=True, logit_bias=((1, 0.1),))  # step by step


class Sleeper(Listening):
    """A source that sleeps, as far as `wakes` says, and notes what it is asked."""

    def __init__(self, hopes: bool = False, awake: frozenset[int] = frozenset()) -> None:
        super().__init__(lambda tip, depth, nodes: None)
        self.hopes, self.awake = hopes, awake
        self.crowds: list[tuple[int, int]] = []
        self.missed: list[int] = []

    def wakes(self, branches: int, rows: int) -> bool:
        self.crowds.append((branches, rows))
        return len(self.crowds) in self.awake

    def naps(self) -> int:
        return 0

    def slept(self, count: int) -> None:
        self.missed.append(count)


@dataclass(frozen=True)
class Sleepy:
    """The drafter that opens one of these."""

    source: Any = field(repr=False, compare=False)

    def open(self, studio: Any) -> Any:
        return self.source


def engine(seconds: float = LULL / (PASSES + 0.5), **kwargs: Any) -> Engine:
    """One whose passes take so long by its curve."""
    one = Engine(toy(hashed(4, scale=2.5), context=1000), clock=lambda: 0.0, **kwargs)
    curve = one.main.curve()  # type: ignore[union-attr]
    curve.observe = lambda *_: None  # type: ignore[method-assign]
    curve.rows, curve.forward = [1, 1000], [seconds, seconds]
    curve.single = curve.several = Line(0.0, 0.0)
    return one


def asked(one: Engine, source: Any, n: int = 3, sampling: Sampling = SAMPLING) -> Answer:
    request = Request(Vote(n=n), "abc", sampling=sampling, speculate=Sleepy(source))
    plain = told(engine().run(Request(Vote(n=n), "abc", sampling=sampling)))
    answer = one.run(request)
    assert told(answer) == plain
    return answer


def test_it_lasts_as_many_passes_as_fit() -> None:
    lull = Lull()
    assert not lull.goes_on() and not lull.is_silent
    lull.begin(LULL / 3.5)
    assert [lull.goes_on() for _ in range(5)] == [True, True, True, False, False]
    assert lull.over() == 3 and lull.over() == 0
    for seconds in (0.0, 2 * LULL):
        lull.begin(seconds)
        assert not lull.goes_on(), "no longer than a pass of a large model"


def test_a_job_of_several_steps_is_so_many_passes() -> None:
    lull = Lull()
    lull.begin(LULL / 10.5)
    assert lull.goes_on()
    lull.skip(4)
    assert [lull.goes_on() for _ in range(6)] == [True] * 5 + [False] and lull.over() == 10


@pytest.mark.parametrize(("hopes", "every"), [(False, PASSES + 1), (True, 1)])
def test_who_hopes_for_nothing_is_asked_after_a_lull(hopes: bool, every: int) -> None:
    source, one = Sleeper(hopes), engine()
    asked(one, source)
    passes = 48  # the first is drawn where the prompt is read, and asks nobody
    assert len(source.crowds) == pytest.approx(passes / every, abs=1.5)
    lulls = [count for count in source.missed if count > 2]
    assert lulls == ([] if hopes else [3 * PASSES] * (len(source.crowds) - 1)), "it is told, branch by branch"
    assert sum(count == 2 for count in source.missed) == len(source.crowds), "of each question all but one"


def test_many_steps_at_once_count_too() -> None:
    source, one = Sleeper(), engine()
    plain = Sampling(temperature=1.0, max_tokens=48, ignore_eos=True)
    asked(one, source, sampling=plain)
    assert len(source.crowds) < 48 / (PASSES + 1)
    told_of = sum(source.missed) + len(source.crowds)
    assert 3 * (48 - 1 - PASSES - steady.MOST_STEPS) <= told_of <= 3 * 48, "all but those of the last lull"


def test_a_source_that_says_nothing_of_hope_is_asked_before_every_pass() -> None:
    source = Sleeper()
    del source.hopes
    asked(engine(), source)
    assert len(source.crowds) == pytest.approx(48, abs=1.5)


def test_it_wakes_after_a_lull() -> None:
    source, one = Sleeper(awake=frozenset({2})), engine()
    source.ask = lambda tip, depth, nodes: Draft.chain([1] * min(depth, 2))
    asked(one, source)
    assert len(source.heard) == 3, "one pass, all three branches"
    assert all(outcome.draft is not None for outcome in source.heard)


def test_who_never_sleeps_ends_it() -> None:
    """A drafter that comes in a lull of others drafts from its first step on, and hears every one."""
    asking = Asking(lambda tip, depth, nodes: Draft.chain([1]))
    one, source = engine(1e-6), Sleeper()  # a lull that would outlast all
    first = Request(Once(), "abc", sampling=SAMPLING, speculate=Sleepy(source))
    second = Request(Once(), "abc", seed=1, sampling=SAMPLING, speculate=asking)
    plain = [told(engine().run(Request(Once(), "abc", seed=i, sampling=SAMPLING))) for i in (0, 1)]
    runs = [one.start(first)]
    for _ in range(8):
        one.turn()
    assert one.main.lull.left > 100  # type: ignore[union-attr]
    runs.append(one.start(second))
    while not all(run.is_done for run in runs):
        one.turn()
    assert [told(run.answer) for run in runs if run.answer] == plain
    heard = [token for outcome in asking.sources[0].heard for token in outcome.tokens]
    assert len(heard) == 48 and len(asking.sources[0].heard) < 48


def test_none_begins_while_somebody_awake_reads_a_prompt() -> None:
    """Who was not in the pass is not forgotten: every token of a drafter that never sleeps is heard."""
    asking = Asking(lambda tip, depth, nodes: None)
    one, source = engine(1e-6, max_rows=4, max_batch=4), Sleeper()
    requests = [
        Request(Once(), "abc", sampling=SAMPLING, speculate=Sleepy(source)),
        Request(Once(), "abca" * 3, seed=1, sampling=SAMPLING, speculate=asking),
    ]
    assert [done.error for done in one.map(requests)] == [None, None]
    heard = [token for outcome in asking.sources[0].heard for token in outcome.tokens]
    assert len(heard) == 48


def test_in_a_pass_that_asks_nobody_for_want_of_room_who_is_awake_hears() -> None:
    """Where cache is short drafts are left out; what was so in the pass before makes nobody deaf."""
    asking, one = Asking(lambda tip, depth, nodes: None), engine()
    runs = [one.start(Request(Once(), "abc", sampling=SAMPLING, speculate="none"))]
    for _ in range(4):
        one.turn()
    assert one.main.lull.is_silent  # type: ignore[union-attr]
    one.main.admission.is_tight = True  # type: ignore[union-attr]
    runs.append(one.start(Request(Once(), "abc", seed=1, sampling=SAMPLING, speculate=asking)))
    while not all(run.is_done for run in runs):
        one.main.admission.is_tight = True  # type: ignore[union-attr]
        one.turn()
    heard = [token for outcome in asking.sources[0].heard for token in outcome.tokens]
    assert len(heard) == 48


def test_passes_of_nobody_who_drafts_ask_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, passes = engine(), list[int]()
    tops = place._tops

    def listen(stretches: Any) -> Any:
        passes.append(1)
        return tops(stretches)

    monkeypatch.setattr(place, "_tops", listen)
    one.run(Request(Vote(n=3), "abc", sampling=SAMPLING))
    assert len(passes) <= 2, "only where a prompt is read"
    assert one.main.lull.left == 0  # type: ignore[union-attr]


def test_fewer_passes_are_timed_in_it() -> None:
    def timed(source: Any) -> int:
        one, looks = engine(1e-6), count()
        one.main.curve().knows = lambda *_: True  # type: ignore[union-attr,method-assign]
        one.main.clock = lambda: float(next(looks))  # type: ignore[union-attr]
        one.run(Request(Once(), "abc", sampling=long, speculate=Sleepy(source)))
        return next(looks) // 2

    long = replace(SAMPLING, max_tokens=640)

    assert timed(Sleeper(hopes=True)) == pytest.approx(640 / (SKIPPED + 1), abs=3)
    assert timed(Sleeper()) == pytest.approx(640 / (UNSEEN + 1), abs=3)


def test_a_text_that_ends_in_it_is_not_told() -> None:
    ends = []
    for hopes in (True, False):
        source = Sleeper(hopes)
        asked(engine(), source, n=6, sampling=Sampling(temperature=1.0, max_tokens=300))
        ends.append(source.ended)
    assert ends[0] > 0 and ends[1] == 0


def test_a_thought_that_is_ready_ends_it() -> None:
    """A drafting model's draft is not left lying because others, asked meanwhile, hope for nothing."""
    one, source, told_of = engine(1e-6), Sleeper(), []
    slow = toy(hashed(4, scale=2.5), context=1000)
    slow.about = slow.about._replace(name="slow", prices=slow.about.prices._replace(weight_bytes=2.0))
    one.add(slow)  # its passes come after those of the model it drafts for

    class Noting(DraftModelSource):
        def observe(self, tip: Any, outcome: Any) -> None:
            told_of.append(outcome)

    class Drafts(DraftModel):
        def open(self, studio: Any) -> Any:
            return Noting(self, studio)

    requests = [
        Request(Once(), "abc", sampling=SAMPLING, speculate=Sleepy(source)),
        Request(Once(), "abca", seed=1, sampling=SAMPLING, speculate=Drafts("slow", n=3)),
    ]
    assert [done.error for done in one.map(requests)] == [None, None]
    assert sum(len(outcome.tokens) for outcome in told_of) == 48
    assert all(outcome.draft is not None for outcome in told_of[1:-1])
