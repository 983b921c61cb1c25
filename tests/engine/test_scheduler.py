"""Who goes next: fairness between requests, prompts in chunks beside decode steps, and cache that is
short."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from time import process_time
from typing import Any

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.types import Answer, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request, Run
from outthink.engine.scheduler import PATIENCE, Waiting, fair, first_come, urgent
from outthink.engine.trace import PassInfo, Trace, Traces
from outthink.strategy.beam import Beam
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote
from outthink.verify.likelihood import Likelihood

LONG = Sampling(temperature=1.0, max_tokens=12, ignore_eos=True)


class Log(Trace):
    """Remembers what happened, in order."""

    def __init__(self) -> None:
        self.passes: list[PassInfo] = []
        self.wrote_by: list[tuple[int, ...]] = []
        self.events: list[str] = []

    def started(self, run: Run) -> None:
        self.events.append("started")

    def born(self, branch: Branch) -> None:
        self.events.append(f"born {branch.path}")

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        self.wrote_by.append(branch.path)

    def closed(self, branch: Branch, why: str) -> None:
        self.events.append(f"closed {branch.path} {why}")

    def offered(self, run: Run, answer: Answer) -> None:
        self.events.append("offered")

    def passed(self, info: PassInfo) -> None:
        self.passes.append(info)

    def ended(self, run: Run, answer: Answer) -> None:
        self.events.append("ended")


class Counted(Sequence[Waiting]):
    """Waiting work that counts how often it is looked at."""

    def __init__(self, waiting: list[Waiting]) -> None:
        self.waiting, self.looks = waiting, 0

    def __len__(self) -> int:
        return len(self.waiting)

    def __getitem__(self, i: Any) -> Any:
        self.looks += 1
        return self.waiting[i]


def test_ordering_a_thousand_branches_looks_at_each_a_few_times() -> None:
    waiting = Counted([Waiting(0, 1, (i,)) for i in range(1000)])
    assert fair(waiting, {}) == list(range(1000))
    assert waiting.looks < 10 * len(waiting)


def engine(**options: Any) -> Engine:
    return Engine(toy(hashed(4, seed=1), 4, context=400), **options)


def test_requests_take_turns() -> None:
    waiting = [Waiting(0, 5, (i,)) for i in range(4)] + [Waiting(1, 0, (0,)), Waiting(2, 3, (0,))]
    assert fair(waiting, {}) == [0, 4, 5, 1, 2, 3]
    assert fair(waiting, {"0": 2, "1": 1}) == [5, 4, 0, 1, 2, 3]


def test_within_a_request_the_least_written_goes_first() -> None:
    assert fair([Waiting(0, 3, (0,)), Waiting(0, 1, (2,)), Waiting(0, 1, (1,))], {}) == [2, 1, 0]


def test_short_cache_is_served_in_order_of_arrival() -> None:
    assert first_come([Waiting(2, 0, (0,)), Waiting(0, 9, (1,)), Waiting(0, 9, (0,))]) == [2, 1, 0]


def test_a_wide_request_does_not_starve_a_narrow_one() -> None:
    lm = engine(max_batch=4)
    wide = lm.start(Request(Vote(n=40), "ab", sampling=LONG))
    narrow = lm.start(Request(Once(), "ba", seed=1, sampling=LONG))
    turns = 0
    while not narrow.is_done:
        lm.turn()
        turns += 1
    assert turns < 40 and not wide.is_done
    lm.close()


def test_a_long_prompt_is_read_in_chunks_beside_decode_steps() -> None:
    log = Log()
    lm = engine(max_batch=8, max_rows=16, trace=log)
    short = lm.start(Request(Once(), "ab", sampling=LONG))
    lm.turn()
    long = lm.start(Request(Once(), "abc" * 60, sampling=LONG))
    while not short.is_done:
        lm.turn()
    assert not long.is_done
    assert all(info.rows <= 16 for info in log.passes)
    assert len([p for p in log.passes if p.drawn and p.rows > 4]) >= 8  # both kinds of rows in one pass
    lm.close()


def test_a_prompt_is_kept_until_its_room_is_needed() -> None:
    lm = engine(slots=120)
    ask = Request(Once(), "abc" * 20, sampling=Sampling(max_tokens=4))
    rows = []
    for request in (ask, ask, Request(Once(), "cba" * 30, sampling=Sampling(max_tokens=4)), ask):
        before = lm.main.backend.model.rows  # type: ignore[attr-defined]
        lm.run(request)
        rows.append(lm.main.backend.model.rows - before)  # type: ignore[attr-defined]
        lm.main.tree.check()
    first, again, _, evicted = rows
    assert again <= 5 < 60 <= first == evicted


def test_cancelled_work_frees_its_cache_at_once() -> None:
    lm = engine()
    run = lm.start(Request(Vote(n=8), "ab", sampling=LONG))
    for _ in range(6):
        lm.turn()
    assert lm.main.tree.filled > 20
    lm.abort(run)
    assert lm.main.tree.filled == 2  # the prompt, evictable
    lm.main.tree.check()


def test_events_come_in_order_and_to_every_listener() -> None:
    one, two = Log(), Log()
    lm = engine(trace=Traces(one, two))
    lm.run(Request(Vote(n=2), "ab", sampling=Sampling(temperature=1.0, max_tokens=3)))
    assert one.events == two.events and one.wrote_by == two.wrote_by and one.passes
    assert one.events[:4] == ["born ()", "started", "born (0,)", "born (1,)"]
    assert one.events.count("offered") == 2 and one.events[-2:] == ["ended", "closed () done"]
    assert {e for e in one.events if e.startswith("closed (")} >= {"closed (0,) done", "closed (1,) done"}


def test_every_branch_that_is_born_is_told_to_end_once() -> None:
    """Those that their strategy drops, too: whoever watches would take them for branches that still write."""
    log = Log()
    lm = engine(trace=log)
    lm.run(Request(Beam(Likelihood(), width=2, expand=3, step_tokens=3), "ab", sampling=LONG))
    born = [e.removeprefix("born ") for e in log.events if e.startswith("born ")]
    ends = [e.removeprefix("closed ").rsplit(" ", 1) for e in log.events if e.startswith("closed ")]
    assert sorted(path for path, _ in ends) == sorted(born) and len(born) == len(set(born)) > 8
    assert {why for _, why in ends} == {"done", "dropped"}


def test_the_urgent_go_first_and_now_and_then_all() -> None:
    assert urgent([0, -1, 5, -1], passes=1) == [1, 3]
    assert urgent([0, -1, 5, -1], passes=PATIENCE) == [0, 1, 2, 3]
    assert urgent([], passes=1) == []


def test_requests_of_one_share_take_turns_as_one() -> None:
    crowd = [Waiting(run, 0, (), "crowd") for run in range(4)]
    assert fair([*crowd, Waiting(4, 0, (), "one")], {}) == [0, 4, 1, 2, 3]
    assert fair([*crowd, Waiting(4, 0, (), "one")], {"one": 2}) == [0, 1, 2, 4, 3]
    greedy = [Waiting(0, 9, (i,), "one") for i in range(3)]  # inside a share, the one that has less
    assert fair([*greedy, Waiting(1, 0, (), "one")], {}) == [3, 0, 1, 2]


def test_urgent_work_pre_empts_and_nothing_changes_in_what_is_written() -> None:
    """The patient request is stopped in the middle, goes on afterwards, and writes what it writes alone."""
    patient = Request(Vote(n=3), "ab", seed=1, sampling=LONG, priority=5)
    alone = Engine(toy(hashed(4, seed=1), 4), slots=200).run(patient)
    for slots in (200, 18):  # plenty of cache, and so little that the pre-empted cache is computed again
        log = Log()
        engine = Engine(toy(hashed(4, seed=1), 4), slots=slots, trace=log)
        slow = engine.start(patient)
        for _ in range(4):
            engine.turn()
        begun = len(log.wrote_by)
        quick = engine.start(Request(Once(), "ba", seed=2, sampling=LONG, priority=-1))
        while not quick.is_done:
            engine.turn()
        between = log.wrote_by[begun:]
        assert between.count(()) == 12 and len(between) <= 12 + 3 * (1 + 16 // PATIENCE)
        while not slow.is_done:
            engine.turn()
        assert slow.answer is not None and slow.answer.text == alone.text
        assert slow.answer.receipt is not None and alone.receipt is not None
        assert slow.answer.receipt.logical == alone.receipt.logical
        engine.main.tree.check()


def test_too_many_branches_for_one_request_are_refused() -> None:
    engine = Engine(toy(hashed(4, seed=1), 4))
    with pytest.raises(BadInput, match="more than 4 live"):
        engine.run(Request(Vote(n=4), "ab", sampling=LONG, max_branches=4))
    assert engine.run(Request(Vote(n=4), "ab", sampling=LONG, max_branches=5)).tokens
    began = process_time()
    with pytest.raises(BadInput, match="more than 50000 live"):
        engine.run(Request(Vote(n=50_000), "ab", sampling=LONG, max_branches=50_000))
    assert process_time() - began < 0.5  # said before the first is made, which would take seconds


def test_a_stopped_run_gives_its_best_and_says_why() -> None:
    engine = Engine(toy(hashed(4, seed=1), 4))
    run = engine.start(Request(Once(), "ab", sampling=Sampling(max_tokens=400, ignore_eos=True)))
    for _ in range(4):
        engine.turn()
    engine.stop(run, "closing time")
    assert run.answer is not None and run.answer.receipt is not None
    assert run.answer.receipt.finish == "budget: closing time" and 0 < run.answer.tokens < 400
    assert not engine.trampoline.live


def test_a_nudge_ends_a_sleep() -> None:
    engine = Engine(toy(vocab=4))
    threading.Timer(0.05, engine.nudge).start()
    began = time.monotonic()
    engine.rest(30.0)
    assert time.monotonic() - began < 10


def test_prompts_may_be_tokens() -> None:
    engine = Engine(toy(hashed(4, seed=1), 4))
    text = engine.run(Request(Once(), "ab", sampling=LONG, seed=3)).text
    assert engine.run(Request(Once(), "what is asked", tokens=(1, 2), sampling=LONG, seed=3)).text == text
    with pytest.raises(BadInput, match="token 9"):
        engine.run(Request(Once(), "x", tokens=(1, 9), sampling=LONG))
