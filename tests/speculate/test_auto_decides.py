"""When `auto` asks, and when it rests: by scripted curves and costs, never by the time that a test takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from drafters import Asking, Listening
from scripted import told

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Tip
from outthink.core.tree import Tree
from outthink.core.types import Answer, Sampling
from outthink.engine import steady
from outthink.engine.choice import choose
from outthink.engine.curve import MEMORY, Curve, Line
from outthink.engine.drafts import distinct
from outthink.engine.engine import Engine
from outthink.engine.place import SKIPPED
from outthink.engine.request import Request
from outthink.speculate import Auto, DraftModel
from outthink.speculate._worth import (
    CREDIT,
    FRESH,
    LONGEST_REST,
    LOOK,
    LOSS,
    MARGIN,
    SHARE,
    USUAL,
    WINDOW,
    Crowd,
    Worth,
    hope,
)
from outthink.speculate.auto import UNHEARD, AutoSource
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote

GREEDY = Sampling(temperature=0.0)


class Machine:
    """Seconds of a pass by its rows, and of one where nobody drafts: as long, if it is not said."""

    def __init__(self, v: Callable[[int], float], plain: Callable[[int], float] | None = None) -> None:
        self.seconds, self.plain = v, plain or v

    def __call__(self, rows: int) -> float:
        return self.seconds(rows)


flat = Machine(lambda rows: 1e-3)  # rows ride for free: a pass waits for memory
steep = Machine(lambda rows: 1e-3 * rows)  # every row costs what the first did: a pass waits for arithmetic
bent = Machine(lambda rows: 1e-3 * max(1.0, rows / 8))  # free up to eight rows


def alone(branches: int) -> Crowd:
    """So many branches, each on a row of its own."""
    return Crowd(branches, branches)


# -------------------------------------------------------------------------------------- before it is known


def test_hope_is_the_best_chain_by_hand() -> None:
    chain = sum(
        USUAL**i for i in range(9)
    )  # all eight right tokens that may be hoped for, and the model's own
    assert hope(flat, alone(1), 0.0) == pytest.approx(chain)
    assert hope(steep, alone(1), 0.0) == pytest.approx((1 + USUAL) / 2), "one token for the price of another"
    assert hope(bent, alone(4), 0.0) == pytest.approx(1 + USUAL), "one token each fills the eight rows"
    assert hope(flat, alone(1), 1e-3) == pytest.approx(chain / 2), "asking costs a pass"


@pytest.mark.parametrize(
    ("v", "branches", "asks"),
    [(flat, 1, True), (flat, 64, True), (steep, 1, False), (bent, 4, True), (bent, 8, False)],
)
def test_nobody_is_asked_where_drafts_cannot_win(v: Any, branches: int, asks: bool) -> None:
    assert Worth().wakes(alone(branches), v) is asks


def test_it_wakes_when_branches_have_ended() -> None:
    worth = Worth()
    assert [worth.wakes(alone(b), bent) for b in (16, 16, 8, 4, 2, 8)] == [
        False,
        False,
        False,
        True,
        True,
        False,
    ]


def test_a_curve_that_has_changed_is_looked_at_again() -> None:
    worth = Worth()
    assert not worth.wakes(alone(1), steep)
    assert sum(not worth.wakes(alone(1), flat) for _ in range(600)) < 300 and worth.wakes(alone(1), flat)


# ------------------------------------------------------------------------------------------- when it is known


def windows(worth: Worth, tokens: int, nodes: int, asking: float, v: Any) -> list[int]:
    """Steps of one branch, each of the same fortune: how many were rested before each window, for ten."""
    rests = []
    for _ in range(10):
        rested = 0
        while not worth.wakes(alone(1), v):
            rested += 1
        rests.append(rested)
        for step in range(WINDOW):
            assert step == 0 or worth.wakes(alone(1), v)
            worth.step(tokens, 1 + nodes, asking, v)
    return rests


def test_it_never_rests_while_drafts_win() -> None:
    assert windows(Worth(), 3, 4, 1e-5, flat) == [0] * 10


def test_now_and_then_it_looks_what_plain_steps_take() -> None:
    """One window of LOOK + 1 goes by without drafts; where plain steps have become fast it rests."""
    worth, machine = Worth(), Machine(lambda rows: 1e-3)
    rests = [rest for _ in range(20) for rest in windows(worth, 3, 4, 1e-5, machine)]
    assert sum(rests) == WINDOW * (len(rests) // LOOK) and set(rests) == {0, WINDOW}
    machine.plain = lambda rows: 0.3e-3
    rested = 0
    for _ in range(4000):
        if worth.wakes(alone(1), machine):
            worth.step(3, 5, 1e-5, machine)
        else:
            rested += 1
    assert rested > 3000


def test_it_rests_by_what_was_lost_and_twice_as_long_each_time() -> None:
    """Asking takes a twentieth of a step and never helps."""
    found = windows(Worth(), 1, 0, 5e-5, flat)
    lost = WINDOW * (1.05 * MARGIN - 1)
    assert found[:5] == [0, *(int(2**i * lost / SHARE) for i in range(4))]
    assert found[-1] == LONGEST_REST


def test_good_luck_pays_for_bad_luck() -> None:
    """As many windows are lost as were won: no rest, until the credit is used up."""
    worth = Worth()
    assert windows(worth, 2, 1, 0.0, flat) == [0] * 10
    balance, rested, lost = worth.balance, 0, 0.0
    while not rested:
        for _ in range(WINDOW):
            assert worth.wakes(alone(1), flat)
            worth.step(1, 1, 2e-5, flat)
        lost += WINDOW * (1.02 * MARGIN - 1)
        rested = worth.resting
    assert balance == CREDIT < lost < CREDIT + WINDOW * (1.02 * MARGIN - 1)
    assert rested == pytest.approx(max((lost - CREDIT) / SHARE, WINDOW), abs=1)


def test_a_window_ends_when_too_much_is_lost() -> None:
    """Each step takes thrice as long: it is over after the first, and not tried again for long."""
    worth, asked = Worth(), 0
    while worth.wakes(alone(1), flat):
        worth.step(1, 1, 2e-3, flat)
        asked += 1
    assert asked == 1 and worth.rest >= LOSS / SHARE


def test_the_share_of_steps_that_fail_is_bounded() -> None:
    """Asking costs a tenth of a pass here and never helps: in all it costs less than 1 % of the time."""
    worth, lost, steps = Worth(), 0.0, 4000
    for _ in range(steps):
        if worth.wakes(alone(1), flat):
            worth.step(1, 1, 1e-4, flat)
            lost += 1e-4
    assert 0 < lost < 0.01 * steps * 1e-3


@pytest.mark.parametrize(("cost", "rests"), [(0.999, False), (1.001, True)])
def test_the_verdict_is_at_the_margin(cost: float, rests: bool) -> None:
    """One node a step, always right: v(2) is just below or above what two tokens are worth."""

    v = Machine(lambda rows: 1e-3 if rows < 2 else 1e-3 * cost * 2 / MARGIN)
    worth = Worth()
    for _ in range(WINDOW):
        assert worth.wakes(alone(1), v)
        worth.step(2, 2, 0.0, v)
    assert (worth.resting > 0) is rests


def test_the_nodes_of_a_pass_are_charged_once() -> None:
    """Four branches with one node each: together they cost v(8) - v(4), however they are told of."""
    worth = Worth()
    for _ in range(4):
        worth.wakes(alone(4), bent)
    for _ in range(4):
        worth.step(9, 2, 0.0, Machine(lambda rows: 1e-3 * rows**2))
    assert worth.drafted - worth.plain == pytest.approx(1e-3 * (64 - 16))
    assert worth.plain == pytest.approx(1e-3 * 16)


def test_a_crowd_on_one_row_is_judged_by_its_row() -> None:
    """Eight branches that wrote the same take what one takes, and so do their drafts."""
    full = Machine(lambda rows: 1e-3 * max(1.0, rows / 4))
    assert not Worth().wakes(alone(8), full)
    assert Worth().wakes(Crowd(8, 1), full) and hope(full, Crowd(8, 1), 0.0) == hope(full, alone(1), 0.0)
    assert hope(full, Crowd(8, 1), 1e-4) < hope(full, alone(1), 1e-4), "all eight are asked"
    worth = Worth()
    for _ in range(8):
        worth.wakes(Crowd(8, 2), full)
    for rows in (4, 3, 0, 0, 0, 0, 0, 1):  # eight rows in all: who comes first brings what they share
        worth.step(99, rows, 0.0, Machine(lambda rows: 1e-3 * rows**2))
    assert worth.drafted == pytest.approx(1e-3 * 64) and worth.plain == pytest.approx(1e-3 * 4)


# ------------------------------------------------------------------------------------------------- in a run


def studio(v: Any, ticks: list[float]) -> Any:
    clock = iter(ticks)
    return SimpleNamespace(
        vocab=9, shares_noise=True, pace={}, seconds=v, plain=v, clock=lambda: next(clock, 0.0)
    )


def test_it_measures_what_asking_costs() -> None:
    source = Auto((Asking(lambda tip, depth, nodes: Draft.chain([1], [0.9])),)).open(
        studio(flat, [0.0, 0.0, 1e-4, 3e-4, 10.0, 10.0, 10.00005, 10.0001])
    )
    tip = Tip([1, 2], 1, GREEDY)
    assert source.wakes(1, 1)
    draft = source.propose(tip, 4, 4)
    source.observe(tip, Outcome(draft, {-1: 1, 0: 2}, (0,), [1, 2], {}))
    assert source.worth.drafted == pytest.approx(1e-3 + 3e-4 + 1e-4)
    assert source.lookups.all[0].cost == pytest.approx(1e-4 + 0.5e-4), "its own part of it"


def hashing(v: Any) -> Engine:
    local = toy(hashed(4, scale=2.5))
    local.step_times = lambda: {rows: v(rows) for rows in (1, 2, 4, 8, 16, 32, 64, 128)}  # type: ignore[method-assign]
    return Engine(local, clock=lambda: 0.0)


def observed(engine: Engine) -> Engine:
    """Passes take what the curve says: no time passes on this clock, so nothing else is learned."""
    curve = engine.main.curve()  # type: ignore[union-attr]
    curve.observe = lambda *_: None  # type: ignore[method-assign]
    curve.single = curve.several = Line(0.0, 0.0)
    return engine


@pytest.mark.parametrize(("v", "asked"), [(flat, True), (steep, False)])
def test_a_run_on_a_scripted_machine(v: Any, asked: bool) -> None:
    asking = Asking(lambda tip, depth, nodes: Draft.chain([1] * min(depth, 3), [0.9] * min(depth, 3)))
    one = observed(hashing(v))
    sampling = Sampling(temperature=1.0, max_tokens=20, ignore_eos=True)
    request = Request(Vote(n=3), "abc", sampling=sampling, speculate=Auto((asking,)))
    plain = told(hashing(v).run(Request(Vote(n=3), "abc", sampling=sampling)))
    answer = one.run(request)
    assert told(answer) == plain and answer.receipt is not None
    assert (answer.receipt.drawn_per_row > 1.1) is asked and answer.receipt.drawn_per_row >= 1.0
    heard = sum(len(source.heard) for source in asking.sources)
    assert (heard > 0) is asked
    assert any(tally.drafted for tally in answer.receipt.speculation.values()) is asked


@dataclass(frozen=True)
class Wrong:
    """A drafter that always guesses the same token."""

    opened: ClassVar[list[Listening]] = []

    def open(self, studio: Any) -> Listening:
        self.opened.append(Listening(lambda tip, depth, nodes: Draft.chain([3], [0.9])))
        return self.opened[-1]


def test_what_does_not_pay_is_remembered_from_request_to_request() -> None:
    """The second request does not try again what has just failed; another key's does."""
    one = observed(hashing(lambda rows: 1e-3 * (1 + 0.2 * rows)))
    sampling = Sampling(max_tokens=3 * WINDOW, ignore_eos=True, logit_bias=((3, -100.0),))
    heard = []
    Wrong.opened.clear()
    for share in ("", "", "other"):
        before = len(Wrong.opened)
        one.run(Request(Once(), "abc", sampling=sampling, speculate=Auto((Wrong(),)), share=share))
        heard.append(sum(len(source.heard) for source in Wrong.opened[before:]))
    assert len(Wrong.opened) == 2, "who is not asked is not even opened"
    assert heard[1] == 0 and 0 < heard[0] == heard[2] <= WINDOW, heard


# ------------------------------------------------------------------------------- the choice over the batch


def test_nodes_are_taken_while_they_pay() -> None:
    drafts = [Draft.chain([1, 2], [0.9, 0.9]), Draft.chain([3, 4], [0.5, 0.1])]
    assert [len(d.tokens) for d in choose(drafts, (0, 1), 2, 2, 10, [1.0] * 9)] == [2, 2]
    assert [len(d.tokens) for d in choose(drafts, (0, 1), 2, 2, 10, [float(r) for r in range(9)])] == [0, 0]
    dear = [1.0 + 0.38 * max(r - 2, 0) for r in range(9)]  # 2.9 / 1.38 < 3.71 / 1.76 > 4.21 / 2.14
    assert [len(d.tokens) for d in choose(drafts, (0, 1), 2, 2, 10, dear)] == [2, 0]
    assert [len(d.tokens) for d in choose(drafts, (0, 1), 2, 2, 1, [1.0] * 9)] == [1, 0], (
        "there is room for one"
    )


def test_what_branches_share_is_one_row_that_writes_for_all() -> None:
    alike = [Draft.chain([1, 2], [0.5, 0.5]), Draft.chain([1, 3], [0.5, 0.5])]
    v = [float(max(r, 1)) for r in range(9)]
    assert [d.tokens for d in choose(alike, "ab", 2, 2, 9, v)] == [(), ()], "2/2 > 2.5/3"
    v[1:3] = 1.0, 1.4
    assert [d.tokens for d in choose(alike, "aa", 2, 1, 9, v)] == [(1,), (1,)], "3/1.4 > 2/1 > 3.25/3"


def test_rows_without_drafts_are_those_of_branches_that_parted() -> None:
    tree = Tree(99)
    one = tree.open([])
    tree.extend(one, [1, 2, 3])
    same, apart, behind = tree.fork(one), tree.fork(one), tree.fork(one)
    tree.append(apart, 9)
    tree.append(one, 4)
    works: Any = [SimpleNamespace(branch=SimpleNamespace(cursor=c)) for c in (one, same, apart, behind)]
    assert distinct(works) == 2 and distinct(works[1:2]) == 1 and distinct([works[1], works[3]]) == 1
    tree.append(same, 5)
    assert distinct(works) == 3 and distinct(works[:2]) == 2


def test_a_draft_that_is_kept_whole_is_the_same_draft() -> None:
    whole = Draft.chain([1, 2], [0.9, 0.9])
    assert choose([whole], [0], 1, 1, 10, [1.0] * 9)[0] is whole


def test_the_curve_is_what_was_measured_and_what_it_learned() -> None:
    curve = Curve({1: 1.0, 2: 2.0, 4: 3.0, 8: 2.5})
    curve.single = Line(0.0, 0.0)
    assert [curve[r] for r in (0, 1, 2, 3, 4, 6, 8, 12)] == [1.0, 1.0, 2.0, 2.25, 2.5, 2.5, 2.5, 2.5]
    for _ in range(400):
        for rows in (1, 4, 8):
            curve.observe(rows, curve.base(rows) + 0.5 + 0.25 * rows)
    assert [curve[r] for r in (1, 2, 8)] == pytest.approx([1.75, 3.0, 5.0])
    assert curve.table(8) == [curve[r] for r in range(9)]


def test_a_slow_measurement_does_not_make_more_rows_look_free() -> None:
    """One row was timed while others had the processor; a pass that takes less says so later."""
    curve = Curve({1: 9.0, 2: 2.0, 4: 8.0, 8: 8.0})
    assert [curve.base(r) for r in (1, 2, 4, 8)] == [2.0, 2.0, 8.0, 8.0]
    curve.observe(4, 4.0)
    assert [curve.base(r) for r in (1, 2, 4, 8)] == [2.0, 2.0, 4.0, 8.0]
    curve.observe(6, 48.0, steps=16)
    assert [curve.base(r) for r in (1, 2, 4, 6, 7, 8)] == [2.0, 2.0, 3.0, 3.0, 5.5, 8.0]


def test_passes_that_were_held_up_move_the_curve_by_little() -> None:
    """A twentieth of the passes take a hundred times as long: what follows from all others stays."""
    calm, busy = Curve({1: 1.0, 2: 2.0}), Curve({1: 1.0, 2: 2.0})
    for i in range(400):
        calm.observe(1, 1.1)
        busy.observe(1, 100.0 if i % 20 == 0 else 1.1)
    assert calm[1] == pytest.approx(1.1, rel=1e-3) and calm[1] < busy[1] < 1.12


def test_large_passes_do_not_say_what_small_ones_take() -> None:
    """Many passes of many rows with much around them: rows must not look free where there are few."""
    curve = Curve({1: 1.0, 2: 1.5, 256: 100.0})
    curve.single = Line(0.1, 0.0)
    for _ in range(200):
        for rows in (200, 201, 256):
            curve.observe(rows, curve.base(rows) + 80.0)
    assert curve[1] < 1.6 and curve[8] > 1.5 * curve[2]  # a line through those passes says 81 and 1.03
    for _ in range(20):
        curve.observe(2, 1.6)
    assert curve[2] == pytest.approx(1.6, abs=0.05) and curve[200] > 140


def test_what_always_takes_longer_is_learned() -> None:
    curve = Curve({1: 1.0, 2: 2.0})
    for _ in range(400):
        curve.observe(1, 5.0)
    assert curve[1] == pytest.approx(5.0, rel=0.01)


def test_passes_that_nobody_looks_at_have_a_curve_of_their_own() -> None:
    curve = Curve({1: 1.0, 2: 2.0, 4: 3.0, 8: 2.5})
    for _ in range(400):
        curve.observe(4, curve.base(4) + 1.0)
        curve.observe(4, 5 * (curve.base(4) + 0.25), steps=5)
    assert [curve[4], curve.plain(4)] == pytest.approx([3.5, 2.75], rel=1e-5)


def test_drafts_must_win_over_passes_that_nobody_looks_at() -> None:
    """Two right tokens in a pass of 1.5 win over single passes of 1, not over passes of 0.6 in a row."""
    for plain, rests in ((1.0, False), (0.6, True)):
        machine, worth = Machine(lambda rows: 1.0 if rows < 2 else 1.5, lambda rows, p=plain: p), Worth()  # type: ignore[misc]
        for _ in range(WINDOW):
            worth.wakes(alone(1), flat)
            worth.step(2, 2, 0.0, machine)
        assert (worth.resting > 0) is rests


@pytest.mark.parametrize("machine", [steep, flat], ids=["hopeless", "resting"])
def test_naps_are_questions_with_a_certain_no(machine: Machine) -> None:
    """Answers are the same whether every question is asked, or those of a nap are left out."""

    def answers(skips: bool) -> list[bool]:
        worth, said = Worth(), []
        while len(said) < 3000:
            said.append(worth.wakes(alone(1), machine))
            if said[-1]:
                worth.step(1, 1, 5e-5, machine)
            elif skips and worth.naps():
                count = min(16, worth.naps())
                worth.slept(count)
                said += [False] * count
        return said[:3000]

    assert answers(skips=True) == answers(skips=False)


def test_a_nap_does_not_put_off_the_next_look_at_the_curve() -> None:
    answers = []
    for skipped in (0, 200):
        worth = Worth()
        assert not worth.wakes(alone(1), steep) and worth.naps() >= skipped
        worth.slept(skipped)
        answers.append(skipped + next(i for i in range(999) if worth.wakes(alone(1), flat)))
    assert answers[0] == answers[1]


def counted(
    engine: Engine, speculate: Any, branches: int, concurrency: int
) -> tuple[list[Any], list[Any], int]:
    """(What was told, the jobs as (rows, steps), calls of Python functions) of a few requests."""
    jobs: list[tuple[int, int]] = []
    land = engine.main.land  # type: ignore[union-attr]

    def landing(flight: Any, result: Any) -> Any:
        jobs.append((len(flight.job.batch), 1 + len(result.before)))
        return land(flight, result)

    engine.main.land = landing  # type: ignore[method-assign,union-attr]
    calls = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sampling = Sampling(max_tokens=48, ignore_eos=True)
    requests = [
        Request(Vote(n=branches), "abcabc", seed=i, sampling=sampling, speculate=speculate)
        for i in range(concurrency)
    ]
    sys.setprofile(profile)
    try:
        done = list(engine.map(requests, concurrency))
    finally:
        sys.setprofile(None)
    return [told(one.answer) for one in done if one.answer], jobs, calls


@pytest.mark.parametrize("sources", [Auto().sources, (*Auto().sources, DraftModel("small"))], ids=len)
@pytest.mark.parametrize(("branches", "concurrency"), [(1, 1), (16, 1), (1, 16), (16, 4)])
def test_who_sleeps_costs_what_nobody_costs(
    sources: Any, branches: int, concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same jobs, as many steps in each, and 1 % more calls at most beside those that start a request."""
    small = toy(hashed(4))
    small.about = small.about._replace(name="small")
    monkeypatch.setattr(steady, "LONGEST", 1e9)  # a toy's steps are slow, and differ in length
    found = []
    for speculate in ("none", Auto(sources)):
        one = observed(hashing(steep))
        one.add(small)
        one.clock = iter(x * 1e-4 for x in range(10**9)).__next__
        counted(one, speculate, branches, concurrency)  # what is looked up once is known
        found.append(counted(one, speculate, branches, concurrency))
    (plain, jobs, calls), (told_auto, jobs_auto, calls_auto) = found
    assert told_auto == plain
    assert jobs_auto == jobs and max(steps for _, steps in jobs) > 4
    starting = (
        190 if len(sources) == 3 else 650
    )  # each source has a guard, a model its own verdict of a crowd
    assert calls_auto - starting * concurrency <= 1.01 * calls, (calls_auto, calls)


@pytest.mark.parametrize(("branches", "concurrency"), [(1, 1), (16, 1), (1, 16), (16, 4)])
def test_beside_short_passes_who_sleeps_costs_nothing(
    branches: int, concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With passes of 20 microseconds a row lulls are long: 0.2 % more calls beside those of a request."""
    monkeypatch.setattr(steady, "LONGEST", 1e9)
    found = []
    for speculate in ("none", Auto()):
        one = observed(hashing(Machine(lambda rows: 2e-5 * rows)))
        one.clock = iter(x * 1e-4 for x in range(10**9)).__next__
        counted(one, speculate, branches, concurrency)
        found.append(counted(one, speculate, branches, concurrency))
    (plain, jobs, calls), (told_auto, jobs_auto, calls_auto) = found
    assert told_auto == plain and jobs_auto == jobs
    assert calls_auto - 85 * concurrency <= 1.002 * calls, (calls_auto, calls)


@pytest.mark.parametrize(("drafting", "hopes"), [(None, False), (1e-4, True), (1.0, False)])
def test_it_hopes_where_a_drafting_model_alone_may_win(drafting: float | None, hopes: bool) -> None:
    """What is looked up is right too seldom for these passes, a model as often as it takes."""

    def seconds(rows: int, model: str = "") -> float:
        return drafting or 0.0 if model else 0.1 * (1 + 0.78 * (rows - 1))

    one = studio(seconds, [])
    source = Auto(model=None if drafting is None else DraftModel("small")).open(one)
    source.wakes(1, 1)
    assert not source.asks and source.hopes is hopes


def test_texts_that_ended_in_its_sleep_are_told_when_it_wakes() -> None:
    """Siblings that ended unheard are what a consensus drafts from."""
    source = Auto().open(studio(flat, []))
    texts = [[1, 2, *range(3, 3 + n)] for n in range(4, 30)]
    for tokens in texts:
        source.end(Tip(tokens, 2, GREEDY))
    assert len(source.unheard) == UNHEARD and source.wakes(1, 1)
    draft = source.propose(Tip([1, 2, 3, 4], 2, GREEDY), 3, 8)
    assert draft is not None and draft.by == "consensus" and draft.tokens[:3] == (5, 6, 7)
    assert not source.unheard


@dataclass(frozen=True)
class Stepwise:
    """Writes two tokens at a time, as step searches write their steps."""

    async def __call__(self, root: Branch, /) -> Answer:
        parts = 0
        while (await root.generate(Sampling(1.0, max_tokens=2))).reason == "length":
            parts += 1
        return Answer(root.text(), estimates={"parts": parts})


@pytest.mark.parametrize(("v", "texts"), [(flat, 1), (steep, 0)])
def test_of_what_it_slept_through_it_is_told_whole_texts_if_it_may_ever_wake(
    v: Machine, texts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_of: list[list[int]] = []
    monkeypatch.setattr(AutoSource, "end", lambda self, tip: told_of.append(list(tip.tokens)))
    one = observed(hashing(v))
    resting = one.memory.pace("", repr(Auto())).setdefault("worth", Worth())
    resting.resting = 10**6
    answer = one.run(Request(Stepwise(), "abc", speculate=Auto()))
    assert answer.estimates["parts"] > 2
    assert len(told_of) == texts and all(tokens[-1] == 0 for tokens in told_of), "when it has ended"


def test_whether_it_may_ever_wake_is_looked_at_again() -> None:
    worth = Worth()
    assert worth.may_wake(bent) and not worth.wakes(alone(16), bent) and worth.may_wake(steep)
    worth.slept(FRESH)
    worth.wakes(alone(16), steep)
    assert not worth.may_wake(steep)


@dataclass(frozen=True)
class Ending:
    """A drafter that notes how long texts were when they ended."""

    lengths: ClassVar[list[int]] = []

    def open(self, studio: Any) -> Listening:
        source = Listening(lambda tip, depth, nodes: None)
        source.end = lambda tip: self.lengths.append(len(tip.tokens))  # type: ignore[method-assign]
        return source


def test_a_run_whose_drafter_sleeps_has_steps_in_a_row() -> None:
    one = observed(hashing(steep))
    one.clock = iter(x * 1e-4 for x in range(10**9)).__next__
    jobs: list[int] = []
    land = one.main.land  # type: ignore[union-attr]
    one.main.land = lambda flight, result: (jobs.append(1 + len(result.before)), land(flight, result))[1]  # type: ignore[method-assign,union-attr]
    sampling = Sampling(temperature=1.0, max_tokens=60, ignore_eos=True)
    request = Request(Vote(n=3), "abc", sampling=sampling, speculate=Auto((Ending(),)))
    plain = told(hashing(steep).run(Request(Vote(n=3), "abc", sampling=sampling)))
    assert told(one.run(request)) == plain and max(jobs) > 8
    assert Ending.lengths == [], "while it sleeps nobody is told"


@pytest.mark.parametrize("drafts", [False, True])
def test_passes_of_a_known_size_are_timed_now_and_then_but_all_with_drafts(drafts: bool) -> None:
    one = hashing(flat)
    curve, timed, landed = one.main.curve(), [], []  # type: ignore[union-attr]
    observe, land = curve.observe, one.main.land  # type: ignore[union-attr]
    curve.observe = lambda rows, *about: (timed.append(rows), observe(rows, *about))  # type: ignore[method-assign]
    one.main.land = lambda flight, result: (landed.append(flight), land(flight, result))[1]  # type: ignore[method-assign,union-attr]
    sampling = Sampling(max_tokens=100, ignore_eos=True, presence_penalty=0.1)  # one step at a time
    asking = Asking(lambda tip, depth, nodes: Draft.chain([1] * min(depth, 3), [0.9] * min(depth, 3)))
    one.run(Request(Once(), "abc", sampling=sampling, speculate=asking if drafts else None))
    singles = [flight for flight in landed if len(flight.job.batch) == 1]
    drafted = [flight for flight in landed if flight.is_drafted]
    if drafts:
        assert len(drafted) > 2 * MEMORY and len(timed) > 0.9 * len(drafted)
    else:
        assert not drafted and len(singles) > 3 * MEMORY
        assert len(timed) == pytest.approx(MEMORY + (len(singles) - MEMORY) / (SKIPPED + 1), abs=2)
