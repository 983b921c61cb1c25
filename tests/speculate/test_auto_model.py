"""A drafting model among auto's choices: run where it pays by scripted times, asleep where not."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from scripted import told

from outthink import spec
from outthink.backends.toy import hashed, toy
from outthink.core.draft import Draft
from outthink.core.drafting import Tip
from outthink.core.types import Answer, Budget, Sampling
from outthink.engine import drafts, steady
from outthink.engine.choice import choose
from outthink.engine.curve import Line
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.speculate import Auto, Copy, DraftModel, Int8
from outthink.speculate._lookups import Record
from outthink.speculate._worth import LOOK, WINDOW, Crowd, best
from outthink.speculate.draft_model import DraftModelSource
from outthink.speculate.hierarchy import Hierarchy
from outthink.strategy.once import Once
from outthink.strategy.short import Short
from outthink.strategy.vote import Vote

SAMPLINGS = [
    Sampling(temperature=1.0, max_tokens=24),
    Sampling(temperature=0.0, max_tokens=24, ignore_eos=True),
    Sampling(temperature=0.9, max_tokens=24, repetition_penalty=1.5, top_p=0.8, stop=("ab",)),
]
LONG = Sampling(temperature=1.0, max_tokens=80, ignore_eos=True)
MODEL = Auto((Copy(), DraftModel("small", n=4)))
ALONE = Auto((DraftModel("small", n=4),))


class Timed:
    """An engine with a drafting model beside its own, on a clock that passes alone move on."""

    def __init__(
        self, v: Callable[[int], float], w: Callable[[int], float], seed: int = 0, **given: Any
    ) -> None:
        """With a seed of 0 both models say the same, with -1 the other the opposite."""
        self.now, self.jobs = 0.0, {"main": 0, "small": 0}  # passes of each
        self.listen: Callable[[int], Any] = lambda steps: (
            None
        )  # called after a pass of the engine's own model
        self.engine = Engine(toy(hashed(4, scale=2.5)), slots=8000, clock=lambda: self.now, **given)
        right = hashed(4, scale=2.5)
        small = toy(
            hashed(4, seed=seed, scale=2.5) if seed >= 0 else lambda prefix: [-x for x in right(prefix)]
        )
        small.about = small.about._replace(name="small")
        self.engine.add(small, slots=8000)
        self._time(self.engine.main, "main", v)
        self._time(self.engine.places["small"], "small", w)

    def _time(self, place: Any, name: str, v: Callable[[int], float]) -> None:
        """Passes take what the curve says, and nothing else is learned of them."""
        place.backend.step_times = lambda: {rows: v(rows) for rows in (1, 2, 4, 8, 16, 32, 64, 128, 512)}
        curve = place.curve()
        curve.observe = lambda *_: None
        curve.single = curve.several = Line(0.0, 0.0)
        land = place.land

        def landing(flight: Any, result: Any) -> Any:
            self.jobs[name] += flight.job.steps
            self.now += flight.job.steps * v(len(flight.job.batch))
            if name == "main":
                self.listen(flight.job.steps)
            return land(flight, result)

        place.land = landing

    def run(self, strategy: Any, sampling: Sampling, speculate: Any, seed: int = 5, **given: Any) -> Answer:
        return self.engine.run(
            Request(
                strategy, "abc", given.pop("budget", Budget()), seed, sampling, speculate=speculate, **given
            )
        )


def memory(rows: int) -> float:
    return 1e-3  # rows ride for free


def light(rows: int) -> float:
    return 1e-4


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("strategy", [Once(), Vote(n=5), Short(m=2, k=4)], ids=repr)
def test_same_text_and_logical_cost(strategy: Any, sampling: Sampling) -> None:
    """Whatever it decides: a good model and a bad one, in wide passes and narrow ones, with a budget."""
    asked = due = 0
    for budget in (Budget(), Budget(written=17)):
        plain = told(Timed(memory, light).run(strategy, sampling, "none", budget=budget))
        for seed in (0, 1):
            for shape in ({}, {"max_batch": 2, "max_rows": 5}):
                one = Timed(memory, light, seed, **shape)
                answer = one.run(strategy, sampling, MODEL, budget=budget)
                assert told(answer) == plain, (budget, seed, shape)
                assert answer.receipt is not None
                asked += "draft_model" in answer.receipt.speculation
                due += answer.receipt.logical.written > 12
                for place in one.engine.places.values():
                    place.tree.check()
                    assert all(not node.cursors for node in place.tree.nodes())
    assert asked >= due, "the model has hardly been asked"


def test_it_is_picked_where_it_pays() -> None:
    """A tenth of the target's time, always right: 4 tokens and one more in the time of 1.4 passes, or so."""
    one, plain = Timed(memory, light), Timed(memory, light)
    text = told(plain.run(Once(), LONG, "none"))
    answer = one.run(Once(), LONG, ALONE)
    assert told(answer) == text and answer.receipt is not None
    tally = answer.receipt.speculation["draft_model"]
    assert tally.accepted == tally.checked > 40 and tally.seconds > 0
    assert answer.receipt.drawn_per_row > 3
    assert one.now < 0.45 * plain.now, (one.now, plain.now)


@pytest.mark.parametrize("v", [memory, lambda rows: 1e-3 * rows], ids=["dear model", "dear rows"])
def test_where_it_cannot_win_it_never_runs(v: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drafting model takes as long as the target, or rows as long as tokens: the passes are plain's."""
    monkeypatch.setattr(steady, "LONGEST", 1e9)
    w = memory if v is memory else light
    plain, one = Timed(v, w), Timed(v, w)
    for seed in range(3):
        text = told(plain.run(Vote(n=3), LONG, "none", seed))
        assert told(one.run(Vote(n=3), LONG, ALONE, seed)) == text
    assert one.jobs == plain.jobs and one.jobs["small"] == 0
    assert one.now == pytest.approx(plain.now)


def test_a_bad_model_is_left_alone() -> None:
    """Never right: what it costs is two windows at most, then hardly anything; the next request remembers."""
    plain, one, took = Timed(memory, light), Timed(memory, light, seed=-1), []
    bad = Sampling(temperature=0.0, max_tokens=80, ignore_eos=True)
    for seed in range(24):
        began = one.now
        text = told(plain.run(Once(), bad, "none", seed))
        assert told(one.run(Once(), bad, ALONE, seed)) == text
        took.append(one.now - began)
    lost = one.now - plain.now
    assert 0 < lost < 0.02 * plain.now, (lost, plain.now)
    assert sum(took[i] <= 0.0801 for i in range(24)) >= 20, took


@pytest.mark.parametrize(
    ("right", "deepest", "branches", "ask", "gain", "size"),
    [
        (0.5, 8, 1, 0.0, 1.75 / 1.2, 2),  # 1.5 / 1.1, 1.75 / 1.2, 1.875 / 1.3
        (1.0, 8, 1, 0.0, 9 / 1.8, 8),
        (1.0, 3, 1, 0.0, 4 / 1.3, 3),
        (0.5, 8, 2, 0.1, 1.875 / 1.5, 3),  # asking counts for each branch
    ],
)
def test_the_size_is_the_best_by_hand(
    right: float, deepest: int, branches: int, ask: float, gain: float, size: int
) -> None:
    """A token of the drafting model takes a tenth of a pass."""
    times = SimpleNamespace(seconds=lambda rows: 1.0, plain=lambda rows: 1.0)
    found = best(times, Crowd(branches, branches), ask, right, deepest, 0.1)
    assert found[0] == pytest.approx(gain) and found[1] == size


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_drafting_model_says_how_likely_it_held_each_token(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own softmax, of the very words before each: also where the text went another way meanwhile."""
    seen: list[tuple[tuple[int, ...], Draft]] = []
    think = DraftModelSource.think

    async def thinking(self: DraftModelSource, tip: Tip, depth: int, nodes: int) -> Draft:
        before = tuple(tip.tokens)
        draft = await think(self, tip, depth, nodes)
        assert draft is not None
        seen.append((before, draft))
        return draft

    monkeypatch.setattr(DraftModelSource, "think", thinking)
    sampling = Sampling(temperature=temperature, max_tokens=40, ignore_eos=True)
    Timed(memory, light, seed=3).run(Vote(n=3), sampling, DraftModel("small", n=5))
    logits = hashed(4, scale=2.5, seed=3)
    for before, draft in seen:
        assert len(draft.conf) == len(draft.tokens)
        for i, token in enumerate(draft.tokens):
            row = torch.tensor(logits((*before, *draft.tokens[:i])), dtype=torch.float64).softmax(-1)
            assert draft.conf[i] == pytest.approx(float(row[token]), abs=1e-5)
    assert len(seen) > 20


def test_the_record_of_a_model_is_kept_by_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it says of a token, weighed by that record, is what the choice over the batch goes by."""
    kept: list[tuple[Draft, Any]] = []
    follow, trusted = Record.follow, list[list[float]]()

    def following(self: Record, draft: Draft, own: Any, tokens: Any) -> int:
        kept.append((draft, own))
        return follow(self, draft, own, tokens)

    def choosing(drafts: Any, *given: Any) -> Any:
        trusted.extend(list(draft.conf) for draft in drafts)
        return choose(drafts, *given)

    monkeypatch.setattr(Record, "follow", following)
    monkeypatch.setattr(drafts, "choose", choosing)
    Timed(memory, light, seed=3).run(Once(), LONG, ALONE)
    assert len(kept) > 5 and all(own == draft.conf for draft, own in kept)
    said = [draft.conf for draft, _ in kept]
    assert max(len({round(conf, 6) for conf in one}) for one in said) > 1, "not one rate for all"
    assert trusted[0] == Record().trusted(said[0])


def test_a_model_given_as_such_is_one_of_the_sources() -> None:
    beside = Auto((Copy(),), model=DraftModel("small", n=4))
    found = []
    for drafter in (MODEL, beside):
        one = Timed(memory, light)
        answer = one.run(Vote(n=3), LONG, drafter)
        assert answer.receipt is not None
        checked = {name: tally.checked for name, tally in answer.receipt.speculation.items()}
        found.append((told(answer), one.now, checked))
    assert found[0] == found[1] and found[0][2]["draft_model"] > 0
    assert spec.parse("auto(model=draft_model(n=8))", "speculate") == Auto(model=DraftModel(n=8))
    with pytest.raises(ValueError, match="such as draft_model"):
        Auto(model="pocket-mini")  # type: ignore[arg-type]


def test_what_is_looked_up_for_nothing_goes_first() -> None:
    """A text that repeats: copies cost nothing and are as long as they like, the model is hardly run."""
    repeats = Sampling(temperature=0.0, max_tokens=80, ignore_eos=True, logit_bias=((2, 100.0),))
    one = Timed(memory, lambda rows: 3e-4)
    answer = one.run(Once(), repeats, Auto((Copy(n=8), DraftModel("small", n=4))))
    assert answer.receipt is not None
    tallies = answer.receipt.speculation
    assert tallies["copy"].accepted > 40
    assert one.jobs["small"] < 20


def test_now_and_then_it_looks_what_plain_steps_take() -> None:
    """After so many windows that were won, none drafts for one, those that look up neither."""
    one = Timed(memory, light)
    pace = one.engine.memory.pace("", repr(MODEL))
    one.run(Once(), LONG, MODEL)
    worths, seen = (pace["worth"], pace["model"].worth), []
    one.listen = lambda steps: seen.append(
        (steps, one.jobs["small"], any(w.looks and w.resting for w in worths))
    )
    for seed in range(WINDOW * LOOK // 20):
        one.run(Vote(n=2), LONG, MODEL, seed)
    looked = [(steps, small) for steps, small, looks in seen if looks]
    assert WINDOW // 2 - 1 <= sum(steps for steps, _ in looked) < 2 * WINDOW, (
        "a window, and the job under way"
    )
    assert len({small for _, small in looked}) == 1, "it drafts meanwhile"
    assert max(steps for steps, _ in looked) > 1, "passes follow one another meanwhile"


def test_one_that_cannot_read_the_text_is_said_once_and_rests() -> None:
    plain, one = Timed(memory, light), Timed(memory, light)
    other = toy(hashed(5), vocab=5)
    other.about = other.about._replace(name="other")
    one.engine.add(other, slots=400)
    drafter = Auto((Copy(), DraftModel("other")))
    text = told(plain.run(Vote(n=3), LONG, "none"))
    answer = one.run(Vote(n=3), LONG, drafter)
    assert told(answer) == text and answer.receipt is not None
    [note] = answer.receipt.degradations
    assert "another vocabulary" in note.why
    assert one.engine.memory.pace("", repr(drafter))["model"].worth.resting > 0


@pytest.mark.parametrize(
    "drafter",
    [
        Auto((Copy(), cast(Any, Int8()))),
        Auto((DraftModel("small"), DraftModel("small", n=2))),
        Hierarchy((Copy(), cast(Any, Int8()))),
        Hierarchy((Copy(), DraftModel("small"))),
        Hierarchy((Copy(), MODEL)),
    ],
    ids=repr,
)
def test_sources_that_cannot_be_combined_are_refused(drafter: Any) -> None:
    with pytest.raises(ValueError, match="auto|hierarchy"):
        Timed(memory, light).run(Once(), LONG, drafter)


def test_one_slow_draft_says_little() -> None:
    """The first pass of a drafting model touches its memory and takes 50 plain steps: it is asked again."""
    left = [0]

    def w(rows: int) -> float:
        left[0] -= 1
        return 0.05 if left[0] == 0 else light(rows)

    one = Timed(memory, w)
    left[0] = 1
    answer = one.run(Once(), LONG, ALONE)
    assert left[0] < 0 and answer.receipt is not None and answer.receipt.drawn_per_row > 3
