"""What the benchmark of speculation measures is what it says."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest
import torch

import outthink as ot
from benchmarks.contest import Score, contest
from benchmarks.ours import Ours
from benchmarks.speculation import anatomy, passes, strategies, streams
from benchmarks.speculation.model import Model
from benchmarks.speculation.scripted import AROUND, LOOKED_AT, Scripted, Timed, over_plain
from benchmarks.speculation.sizes import QUICK
from benchmarks.speculation.strategies import Cell
from benchmarks.speculation.totals import Faster, best
from outthink.backends.load import load_backend, locate
from outthink.bench import tasks
from outthink.core.batch import Batch, Segment
from outthink.engine.request import Request
from outthink.strategy.once import Once


@pytest.fixture(scope="module")
def mini() -> Model:
    return Model.load("mini", locate("pocket-mini"), threads=1)


def test_totals_are_not_means_of_rounds() -> None:
    ours, theirs = Score([10, 90], [1.0, 4.0]), Score([10, 90], [1.0, 9.0])
    ratio = Faster.of(ours, theirs)
    assert (ratio.total, ratio.low, ratio.high, ratio.rounds) == (2.0, 1.0, 2.25, 2)
    assert best({"a": theirs, "b": ours}) == "b"


def test_the_error_of_a_ratio_is_that_of_its_spread() -> None:
    """Of 400 contests with 20 rounds of known noise, 2 errors cover the truth in about 95 of 100."""
    noise, within = random.Random(0), 0
    for _ in range(400):
        ours, theirs = (Score([9] * 20, [noise.gauss(1.0, 0.1) for _ in range(20)]) for _ in range(2))
        ratio = Faster.of(ours, theirs)
        within += abs(ratio.total - 1.0) < 2 * ratio.error
    assert 0.91 < within / 400 < 0.98
    assert Faster.of(Score([1], [1.0]), Score([1], [2.0])).error == math.inf


class Sleeper:
    """A rival that does nothing."""

    name = "sleeper"

    def __init__(self) -> None:
        self.done: list[int] = []

    def write(self, work: int) -> int:
        self.done.append(work)
        return 1


@pytest.mark.parametrize(("seconds", "rounds"), [(float("inf"), 5), (0.0, 2)])
def test_a_contest_ends_in_time_but_not_before_two_rounds(seconds: float, rounds: int) -> None:
    sleeper = Sleeper()
    scores = contest([sleeper], 5, lambda turn: turn, seconds)
    assert len(scores["sleeper"].seconds) == rounds
    assert sleeper.done == list(range(rounds + 1))


@torch.inference_mode()
def test_a_timed_chain_is_the_pass_that_checks_a_draft(mini: Model) -> None:
    """Rows of a chain below a context are the rows of the text as a whole."""
    model, context, rows = mini.backend.model, 12, 5
    chain = passes.chain(context, rows)
    tokens, n = [*range(20, 20 + context), *chain.tokens], context + rows

    def text(count: int) -> Batch:
        places = list(range(count))
        return Batch(tokens[:count], places, places, [0] * count, [i + 1 for i in places], places,
                     [Segment(-1, 0, count)])  # fmt: skip

    whole = model.forward(text(n), model.new_store(n))
    store = model.new_store(n)
    model.forward(text(context), store)
    assert torch.allclose(model.forward(chain, store), whole[context:], atol=1e-4)


def test_parts_of_a_step_are_seen_and_apart(mini: Model) -> None:
    prompts = mini.prompts("procedures")
    texts = [streams.Work(prompts.problem(), 1, 40, greedy=True, stops=True, seed=i) for i in range(3)]
    plain, drafted, assisted = (anatomy.take_apart(mini, n, texts) for n in ("plain", "copy", "draft_model"))
    assert plain.tokens == plain.rows == 1.0
    assert not any(plain.parts[part] for part in ("propose", "grow", "accept"))
    assert drafted.tokens > 1
    assert drafted.rows > drafted.tokens
    assert all(
        drafted.parts[part] > 0 for part in ("propose", "grow", "add rows", "accept", "shrink", "observe")
    )
    assert min(plain.rest, drafted.rest, assisted.rest) > 0
    assert assisted.drafting > 0 == drafted.drafting


def test_the_formula() -> None:
    curve = passes.Passes({1: 2.0, 3: 4.0, 5: 8.0}, 1.0, 1.0, 1.0, 1)
    assert [curve.at(rows) for rows in (1, 2, 3, 4.5, 5)] == [2, 3, 4, 7, 8]
    parts = {"propose": 1.0}
    assert anatomy.Steps(3.0, 3.0, 9.0, 4.0, 1.0, 0.0, parts).formula(curve) == 3 * 2 / (4 + 1)
    assert anatomy.Steps(3.0, 3.0, 9.0, 4.0, 1.0, 2.0, parts).formula(curve) == 3 * 2 / (4 + 2)


def test_a_changed_text_ends_the_benchmark() -> None:
    def said(name: str, text: str) -> Ours:
        return SimpleNamespace(name=name, answers=[ot.Answer(text)])  # type: ignore[return-value]

    streams.check_same([said("plain", "a"), said("copy", "a")])
    with pytest.raises(AssertionError, match="copy wrote 'b', plain 'a'"):
        streams.check_same([said("plain", "a"), said("copy", "b")])


@pytest.mark.parametrize("strategy", strategies.STRATEGIES)
def test_every_strategy_of_the_table_runs_under_auto(mini: Model, strategy: str) -> None:
    cell = strategies.Cell("steps", strategy, 2, 1.0)
    section = strategies.measure(mini, [cell], QUICK)
    [row] = section.rows
    assert row[:4] == ["steps", strategy, "2", "1"]
    worst, middle = section.targets
    assert worst.value == middle.value
    assert worst.value is not None
    assert worst.value > 0


def memory_bound(rows: float) -> float:
    """As a model of 80M parameters on two cores: weights are read in 4 ms, and a row computes for one."""
    return 4e-3 + 1e-3 * max(rows - 4, 0)


@pytest.mark.parametrize(
    ("strategy", "batch", "temperature", "least"), [("sample", 1, 0.0, 1.25), ("sample", 16, 1.0, 0.97)]
)
def test_auto_over_plain_on_a_scripted_clock(
    strategy: str, batch: int, temperature: float, least: float
) -> None:
    cell = Cell("procedures", strategy, batch, temperature)
    plain, faster = over_plain(load_backend(str(locate("pocket")), threads=1), memory_bound, cell)
    assert least <= faster < 4 and (batch / 2 < plain * memory_bound(batch) <= batch)


def test_a_job_takes_the_steps_that_were_made() -> None:
    """One stream, one row a pass after the prompt: by hand, whatever the jobs were."""
    timed = Timed(Scripted(load_backend(str(locate("pocket")), threads=1), lambda rows: 1.0), "none")
    problem = tasks.load("paths").problem("test", 0)
    request = Request(Once(), problem, seed=0, sampling=ot.Sampling(temperature=0.0, max_tokens=50), tag=0)
    written, seconds, _ = timed.write([request])
    assert written + written * AROUND <= seconds <= written + 1 + (written + 1) * LOOKED_AT
