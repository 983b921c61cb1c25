"""Several steps in one job: the same texts, the same cost, and no step beyond the end of a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from scripted import STRATEGIES, ask, engine, told

from outthink.backends.toy import hashed, toy
from outthink.core.jobs import PassResult
from outthink.core.types import Answer, Budget, Sampling
from outthink.engine import admission, steady
from outthink.engine.ends import MOST, Ends
from outthink.engine.engine import Engine
from outthink.engine.flight import Flight
from outthink.engine.lull import Lull
from outthink.engine.place import Place
from outthink.engine.request import Request
from outthink.engine.steady import Steady
from outthink.strategy.vote import Vote


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps every job had."""
    seen: list[int] = []
    land = Place.land

    def listen(self: Place, flight: Flight, result: PassResult) -> Any:
        seen.append(1 + len(result.before))
        return land(self, flight, result)

    monkeypatch.setattr(Place, "land", listen)
    return seen


def paid(answer: Answer | None) -> tuple[Any, ...]:
    """What was computed, in all."""
    assert answer is not None and answer.receipt is not None
    actual = answer.receipt.actual
    return actual.positions, actual.passes, actual.flops, actual.bytes, actual.cache_bytes


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@pytest.mark.parametrize("budget", [Budget(), Budget(written=17), Budget(positions=12)], ids=repr)
def test_same_answer_and_cost_by_single_steps(
    strategy: Any, budget: Budget, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = [engine().run(ask(strategy, budget, seed)) for seed in range(3)]
    monkeypatch.setattr(steady, "MOST_STEPS", 1)
    several, taken[:] = max(taken), []
    for seed, answer in enumerate(together):
        other = engine().run(ask(strategy, budget, seed))
        assert told(other) == told(answer)
        assert paid(other) == paid(answer)
    assert set(taken) == {1} and several >= 1


def run(sampling: Sampling, one: Engine | None = None, n: int = 3) -> Answer:
    one = one or Engine(toy(hashed(6, seed=2), 6))
    answer = one.run(Request(Vote(n=n), "ab", sampling=sampling, seed=4))
    one.main.tree.check()
    assert not any(node.cursors for node in one.main.tree.nodes())
    return answer


def test_a_long_text_is_written_in_few_jobs(taken: list[int]) -> None:
    answer = run(Sampling(max_tokens=200, ignore_eos=True))
    assert answer.tokens == 62 and len(taken) < 20 and max(taken) > 8


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=60),
        Sampling(max_tokens=60, ignore_eos=True, stop=("bc",)),
        Sampling(max_tokens=60, stop=("cab", "dd"), keep_stop=True),
        Sampling(max_tokens=60, ignore_eos=True, stop_tokens=(3,)),
        Sampling(max_tokens=60, ignore_eos=True, stats=("entropy",)),
    ],
    ids=repr,
)
def test_ends_are_found_within_a_job(
    sampling: Sampling, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = run(sampling)
    assert max(taken) > 1
    monkeypatch.setattr(steady, "MOST_STEPS", 1)
    single = run(sampling)
    assert told(single) == told(together) and paid(single) == paid(together)


def test_a_stop_that_no_token_shows_ends_the_text_all_the_same(
    taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer may give a token other text in company than alone: then steps are wasted, nothing else."""
    sampling = Sampling(max_tokens=60, ignore_eos=True, stop=("bc",))
    told_of = told(run(sampling))
    blind = Engine(toy(hashed(6, seed=2), 6))
    monkeypatch.setattr(Ends, "_completing", lambda *_: [])
    taken.clear()
    answer = run(sampling, blind)
    assert told(answer) == told_of and max(taken) > 1
    assert answer.receipt is not None
    assert answer.receipt.actual.positions > answer.receipt.logical.positions


def test_no_pass_more_than_the_budget_has() -> None:
    one = Engine(toy(hashed(6, seed=2), 6))
    request = Request(Vote(n=3), "ab", Budget(passes=7), sampling=Sampling(max_tokens=99, ignore_eos=True))
    receipt = one.run(request).receipt
    assert receipt is not None and receipt.actual.passes == 7


def table(sampling: Sampling, vocab: int = 16, eos: Sequence[int] = (0,)) -> bytes | None:
    """Ends of one text on a toy tokenizer."""

    class Text:
        def __init__(self) -> None:
            self.sampling, self.eos = sampling, frozenset(() if sampling.ignore_eos else eos)

    return Ends(toy(vocab=16).tokenizer, vocab).of([Text()])  # type: ignore[list-item]


def test_what_may_end_a_text() -> None:
    def ends(**given: Any) -> list[int] | None:
        found = table(Sampling(**given))
        return None if found is None else [i for i, one in enumerate(found) if one]

    assert ends() == [0]
    assert ends(ignore_eos=True) == []
    assert ends(stop_tokens=(3, 99)) == [0, 3]
    assert ends(ignore_eos=True, stop=("abc", "xad")) == [3, 4]
    assert ends(stop=("ab ",)) is None, "a blank may be lost where a token is decoded alone"
    assert ends(stop=("é",)) is None, "its bytes may be of several tokens"


def test_where_somebody_looks_in_between_steps_are_single(taken: list[int]) -> None:
    one = Engine(toy(hashed(6, seed=2), 6))
    biased = Sampling(max_tokens=40, ignore_eos=True, logit_bias=((1, 0.5),))
    one.run(Request(Vote(n=3), "ab", sampling=biased))
    one.run(
        Request(Vote(n=3), "ab", speculate=None, sampling=Sampling(max_tokens=40, repetition_penalty=1.2))
    )
    assert set(taken) == {1}


def test_a_job_ends_before_its_time_is_over() -> None:
    class Row:
        allowed, cap, count = 100, 50, 3

    step = Steady.__new__(Steady)
    step.ends, step.left, step.rows, step.pace = b"", 40, [Row()], 0.0  # type: ignore[list-item]
    step._speculators, step.lull = Counter(), Lull()
    assert step.steps() == 1, "the first shows how long one takes"
    step.pace = 1e-4
    assert step.steps() == steady.MOST_STEPS
    step.pace = steady.LONGEST / 3.5
    assert step.steps() == 3
    step.pace = 1.0
    assert step.steps() == 1
    step.pace, step.left = 1e-4, 5
    assert step.steps() == 5
    step.left, step.rows[0].count = 40, 48
    assert step.steps() == 2

    class Sleeper:
        def __init__(self, naps: int) -> None:
            self.naps = lambda: naps

    step.rows[0].count = 3
    for naps, steps in ((0, 1), (1, steady.MOST_STEPS), (10, steady.MOST_STEPS)):
        step._speculators = Counter({Sleeper(10): 4, Sleeper(naps): 4})  # type: ignore[dict-item]
        assert step.steps() == steps, "who sleeps may oversleep: nobody is woken within a job"


def test_tables_of_ends_are_bounded() -> None:
    """Strangers choose stop texts: what is remembered of them must not grow."""
    ends = Ends(toy(vocab=16).tokenizer, 16)

    class Text:
        eos = frozenset[int]()

        def __init__(self, token: int) -> None:
            self.sampling = Sampling(stop_tokens=(token,))

    for token in range(3 * MOST):
        found = ends.of([Text(token)])  # type: ignore[list-item]
        assert found is not None and sum(found) == (token < 16)
    assert len(ends._tables) == MOST


def test_tails_need_more_slots_in_the_same_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Branches that part at different times go the long way for slots together, not one after another."""
    seen: set[int] = set()
    after = Steady.after

    def listen(*args: Any) -> Steady | None:
        made = after(*args)
        if made is not None:
            seen.update(
                (one.main.admission.beat + node.cap - len(node.tokens)) % admission.LOOKAHEAD
                for node in made.nodes
            )
        return made

    monkeypatch.setattr(Steady, "after", listen)
    one = Engine(toy(hashed(6, seed=2), 6, context=500))
    answer = one.run(Request(Vote(n=12), "ab", sampling=Sampling(max_tokens=300, ignore_eos=True), seed=4))
    assert answer.tokens > 200 and len(seen - {0}) <= 1, "all at once; before the end of a text less is taken"
