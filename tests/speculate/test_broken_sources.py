"""Sources that do harm, that fail beside others, and requests that end early: the text stays."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from drafters import Asking
from scripted import told
from test_drafter_edges import ASKED, engine, notes, run

from outthink.backends.toy import hashed, toy
from outthink.core.draft import Draft
from outthink.core.drafting import Tip
from outthink.core.errors import BadInput
from outthink.core.types import Answer, Budget, Sampling
from outthink.engine.curve import Line
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace
from outthink.speculate import Auto, Copy, DraftModel, Hierarchy, Skip, Trie
from outthink.speculate.rules import Recursive
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote

# ---- sources that do harm


def clears(tip: Any, outcome: Any = None) -> None:
    tip.tokens.clear()


def appends(tip: Any, outcome: Any = None) -> None:
    tip.tokens.append(1)


def cuts(tip: Any, outcome: Any = None) -> None:
    del tip.tokens[:]


def overwrites(tip: Any, outcome: Any = None) -> None:
    tip.tokens[-1] = 2


def sorts(tip: Any, outcome: Any = None) -> None:
    tip.tokens.sort()


def adds(tip: Any, outcome: Any = None) -> None:
    tip.tokens += [1, 2]


def replaces(tip: Any, outcome: Any = None) -> None:
    tip.tokens = []


def renames_ends(tip: Any, outcome: Any = None) -> None:
    tip.ends = None


def removes_prompt(tip: Any, outcome: Any = None) -> None:
    del tip.prompt


def closes_branch(tip: Any, outcome: Any = None) -> None:
    tip.branch.close()


def empties_outcome(tip: Any, outcome: Any = None) -> None:
    if outcome is not None:
        outcome.tokens.clear()


HARMS = [
    clears, appends, cuts, overwrites, sorts, adds, replaces, renames_ends, removes_prompt, closes_branch,
    empties_outcome,
]  # fmt: skip


@dataclass(eq=False)
class Harmful:
    """A source that does its harm when it is asked, and when it is told."""

    harm: Callable[..., None]
    name: str = "harmful"
    tops: int = 1

    def open(self, studio: Any) -> Any:
        return self

    def propose(self, tip: Any, depth: int, nodes: int) -> Draft:
        self.harm(tip)
        return Draft.chain([1] * min(depth, nodes, 3), by=self.name)

    def observe(self, tip: Any, outcome: Any) -> None:
        self.harm(tip, outcome)

    def end(self, tip: Any) -> None:
        pass


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_drafter_cannot_harm_what_it_is_given(harm: Any) -> None:
    """The tip, its text and what was written are read only; there is no way from it to branch and tree."""
    one = engine()
    answer = one.run(Request(Vote(n=3), "abc", sampling=ASKED, speculate=Harmful(harm)))
    assert told(answer) == told(run("none"))
    assert [what for what, _ in notes(answer)] == ["drafter harmful"]
    one.main.tree.check()
    assert not any(node.cursors for node in one.main.tree.nodes())


def test_a_draft_is_not_what_its_drafter_makes_of_it_later() -> None:
    """One list for all drafts, emptied and filled again for the next branch while the first are alive."""
    buffer: list[int] = []

    def ask(tip: Tip, depth: int, nodes: int) -> Draft | None:
        count = min(depth, nodes, 3)
        buffer[:] = [(tip.tokens[-1] + i) % 4 for i in range(count)]
        draft = Draft(buffer, [i - 1 for i in range(count)])  # type: ignore[arg-type]
        return draft if count else None

    answer = run(Asking(ask))
    assert told(answer) == told(run("none")) and notes(answer) == []
    assert answer.receipt is not None and answer.receipt.speculation["test"].checked > 5


class Log(Trace):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warned(self, message: str) -> None:
        self.said.append(message)


@dataclass(frozen=True)
class Wrong:
    """A drafter that is wrong in one way, whatever it is asked or told."""

    how: str = ""
    name: str = "wrong"
    tops: int = 0
    count: list[int] = field(default_factory=list, compare=False, repr=False)

    def open(self, studio: Any) -> Any:
        return self

    def propose(self, tip: Any, depth: int, nodes: int) -> Any:
        self.count.append(1)
        if self.how == "raises":
            raise KeyError("lost")
        return {
            "range": Draft.chain([99], [1.0], "wrong"),
            "many": Draft.chain([1] * 600, [1.0] * 600, "wrong"),
            "list": [1, 2],
            "conf": Draft.chain([1], [math.nan], "wrong"),
            "dists": Draft((1,), (-1,), (1.0,), ({2: 0.0},), "wrong"),
        }.get(self.how)

    def observe(self, tip: Any, outcome: Any) -> None:
        if self.how == "observe":
            raise KeyError("lost")

    def end(self, tip: Any) -> None:
        if self.how == "end":
            raise KeyError("lost")


def around(prefix: tuple[int, ...]) -> list[float]:
    """Mostly a, b, c, d and again from a."""
    return [4.0 if token == (prefix[-1] + 1) % 4 else 0.0 for token in range(4)]


def repeating(drafter: Any, one: Engine | None = None) -> Answer:
    sampling = Sampling(temperature=1.0, max_tokens=60, ignore_eos=True)
    return (one or free(around)).run(Request(Vote(n=3), "abcabcab", sampling=sampling, speculate=drafter))


def accepted(answer: Answer, name: str) -> tuple[int, int]:
    assert answer.receipt is not None
    found = answer.receipt.speculation[name]
    return found.checked, found.accepted


@pytest.mark.parametrize("how", ["raises", "range", "many", "list", "conf", "observe", "end"])
@pytest.mark.parametrize("many", [Hierarchy, Auto])
def test_one_broken_source_costs_its_own_drafts_alone(many: Any, how: str) -> None:
    """Copy beside it has the drafts that it has alone; receipt and log name the broken one, once."""
    alone, plain = repeating(many((Copy(n=4),))), told(repeating("none"))
    for place in (0, 1):
        wrong, log, one = Wrong(how), Log(), free(around)
        sources: list[Any] = [Copy(n=4)]
        sources.insert(place, wrong)
        one.trace = log
        answer = repeating(many(tuple(sources)), one)
        assert told(answer) == plain
        assert accepted(answer, "copy") == accepted(alone, "copy") > (20, 20)
        assert len(wrong.count) > 5
        [(what, why)] = notes(answer)
        assert what == "drafter wrong" and "went on without its draft" in why
        assert [said for said in log.said if "drafter" in said] == [f"{what}: {why}"]


def free(logits: Any) -> Engine:
    """Passes take as long with more rows, so that auto is always awake; and a model beside at no cost."""
    one, small = engine(logits), toy(logits)
    small.about = small.about._replace(name="small")
    one.add(small)
    for place, seconds in ((one.main, 1.0), (one.places["small"], 1e-6)):
        place.backend.step_times = lambda seconds=seconds: {1: seconds, 512: seconds}  # type: ignore[union-attr]
        curve = place.curve()  # type: ignore[union-attr]
        curve.observe, curve.single, curve.several = lambda *_: None, Line(0.0, 0.0), Line(0.0, 0.0)
    return one


def test_a_source_that_draws_from_no_distribution_is_not_weighed_among_others() -> None:
    sampling = Sampling(temperature=0.5, max_tokens=30, ignore_eos=True)
    drafter = Hierarchy((Wrong("dists"), Copy(n=3)))
    answer = engine().run(
        Request(Vote(n=2), "abcabc", sampling=sampling, speculate=drafter, accept=Recursive())
    )
    [(what, why)] = notes(answer)
    assert what == "drafter wrong" and "dists[0]" in why and accepted(answer, "copy")[0] > 5


def test_a_broken_source_of_a_warm_drafter_is_named_to_whoever_asks() -> None:
    """Its live half outlives the request that opened it; each receipt has its own word."""
    one, drafter = engine(), Hierarchy((Copy(), Wrong("raises")))
    for _ in range(2):
        answer = one.run(Request(Vote(n=3), "abc", sampling=ASKED, speculate=drafter, warm=True))
        assert [what for what, _ in notes(answer)] == ["drafter wrong"]


@dataclass(frozen=True)
class Failing:
    """A drafting model that fails."""

    model: str = "small"

    def open(self, studio: Any) -> Any:
        return self

    name, tops, n = "failing", 0, 4
    place = "small"

    async def think(self, tip: Any, depth: int, nodes: int) -> Draft:
        raise KeyError("lost")

    def propose(self, tip: Any, depth: int, nodes: int) -> None:
        return None

    def observe(self, tip: Any, outcome: Any) -> None:
        pass

    def end(self, tip: Any) -> None:
        pass


def test_a_drafting_model_that_fails_costs_its_own_drafts_alone() -> None:
    answer = repeating(Auto((Copy(n=4), Failing())))
    assert told(answer) == told(repeating("none"))
    [(what, why)] = notes(answer)
    assert what == "drafter failing" and "KeyError: 'lost'" in why
    assert accepted(answer, "copy")[1] > 20


class Unsure(Wrong):
    """A source that cannot say what it is."""

    def __getattr__(self, name: str) -> Any:
        if name == self.how and sys._getframe(1).f_code.co_name != "hasattr":
            raise KeyError(name)
        raise AttributeError(name)


@pytest.mark.parametrize("how", ["is_warm", "sketching"])
def test_a_source_that_cannot_say_what_it_is_ends_nothing(how: str) -> None:
    answer = run(Unsure(how))
    assert told(answer) == told(run("none"))
    assert notes(answer) == [("drafter wrong", f"went on without its draft: KeyError: '{how}'")]


@pytest.mark.parametrize("tops", [-1, 1.5, "many"])
def test_tops_that_are_no_number_are_refused(tops: Any) -> None:
    with pytest.raises(BadInput, match="tops="):
        run(Wrong(tops=tops))


def test_more_likeliest_tokens_than_there_are() -> None:
    asking = Asking(lambda tip, depth, nodes: None, tops=10**9)
    run(asking)
    [source] = asking.sources
    assert {len(top) for heard in source.heard for top in heard.tops.values()} == {4}


# ---- models beside


def with_small(rows: int) -> Engine:
    one, small = engine(max_rows=rows, max_batch=3), toy(hashed(4))
    small.about = small.about._replace(name="small")
    one.add(small)
    return one


@pytest.mark.parametrize("rows", [4, 6, 512])
def test_a_draft_beyond_the_room_of_its_pass_is_cut_and_nobody_complains(rows: int) -> None:
    """A model drafts before the pass is known, so that it cannot know the room."""
    one = with_small(rows)
    answer = one.run(Request(Vote(n=3), "abc", sampling=ASKED, speculate=DraftModel("small", n=8)))
    assert told(answer) == told(run("none")) and notes(answer) == []
    checked, right = accepted(answer, "draft_model")
    assert checked == right > 0, "both models say the same"


def test_salts_share_no_cache_of_a_drafting_model_and_no_warm_texts() -> None:
    """What a drafting model computes, and what a warm drafter knows, does not depend on other salts."""

    def cost(one: Engine, salt: str, drafter: Any) -> tuple[Any, ...]:
        request = Request(Once(), "abcab", sampling=ASKED, speculate=drafter, salt=salt, warm=True)
        receipt = one.run(request).receipt
        assert receipt is not None
        [tally] = receipt.speculation.values()
        return receipt.actual.positions, tally.drafted, tally.checked, tally.accepted, tally.is_warm

    for drafter in (DraftModel("small"), Trie(m=1), Copy(m=1)):
        alone = cost(with_small(512), "b", drafter)
        one = with_small(512)
        cost(one, "a", drafter)
        assert cost(one, "b", drafter) == alone, drafter
        assert cost(one, "b", drafter) != alone, "what has its own salt is found again"


def test_nothing_to_leave_out_is_refused() -> None:
    backend = toy(hashed(4))
    backend.about = backend.about._replace(layers=2)
    with pytest.raises(BadInput, match="2 layers, none between the first and the last"):
        Engine(backend).run(Request(Once(), "abc", sampling=ASKED, speculate=Skip()))


# ---- requests that end early


@pytest.mark.parametrize("drafter", [Auto((Copy(), DraftModel("small"))), DraftModel("small")], ids=repr)
def test_a_cut_request_leaves_nothing_of_its_branches_in_a_warm_drafter(drafter: Any) -> None:
    """A budget ends it while branches fork and drafts are alive; what was learned serves the next request."""
    one = with_small(512)
    plain = engine().run(Request(Vote(n=5), "abcab", Budget(written=17), sampling=ASKED))
    for _ in range(3):
        request = Request(
            Vote(n=5), "abcab", Budget(written=17), sampling=ASKED, speculate=drafter, warm=True
        )
        answer = one.run(request)
        assert told(answer) == told(plain) and notes(answer) == []
    [source] = one.memory._sources.values()
    parts = [source, *getattr(source, "sources", ())]
    kept = [
        getattr(part, name)
        for part in parts
        for name in ("fortunes", "thought", "shadows")
        if hasattr(part, name)
    ]
    assert kept and not any(kept)
    for place in one.places.values():
        assert not any(node.cursors for node in place.tree.nodes())  # type: ignore[union-attr]


@dataclass(eq=False)
class Interrupted(Harmful):
    """Ctrl-C comes while it learns, once."""

    harm: Callable[..., None] = clears
    pressed: int = 0

    def propose(self, tip: Any, depth: int, nodes: int) -> Draft:
        return Draft.chain([1] * min(depth, nodes, 3), by=self.name)

    def observe(self, tip: Any, outcome: Any) -> None:
        self.pressed += 1
        if self.pressed == 3:
            raise KeyboardInterrupt

    def __repr__(self) -> str:
        return "interrupted()"


def test_what_a_warm_drafter_was_learning_when_interrupted_is_forgotten() -> None:
    one = engine()
    request = Request(Vote(n=3), "abc", sampling=ASKED, speculate=Interrupted(), warm=True)
    with pytest.raises(KeyboardInterrupt):
        one.run(request)
    for is_warm in (False, True):
        answer = one.run(request)
        assert told(answer) == told(run("none")) and answer.receipt is not None
        assert [tally.is_warm for tally in answer.receipt.speculation.values()] == [is_warm]


class Elsewhere(Failing):
    """A drafting model that waits for what is not the engine's, or that answers with no draft."""

    def __init__(self, how: str) -> None:
        object.__setattr__(self, "how", how)

    async def think(self, tip: Any, depth: int, nodes: int) -> Any:
        if self.how == "sleeps":  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        return {"list": [1, 2], "many": Draft.chain([1] * 600), "range": Draft.chain([99])}.get(self.how)  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["sleeps", "list", "many", "range"])
@pytest.mark.parametrize("among", [False, True])
def test_a_drafting_model_that_thinks_wrongly_costs_its_draft(how: str, among: bool) -> None:
    drafter: Any = Elsewhere(how)
    answer = repeating(Auto((Copy(n=4), drafter)) if among else drafter)
    assert told(answer) == told(repeating("none"))
    assert [what for what, _ in notes(answer)] == ["drafter failing"]
