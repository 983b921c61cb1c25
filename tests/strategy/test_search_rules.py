"""What every search keeps: bad verifiers are named, budgets hold at their edge, tokens are computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from golden import LEAVES, VALUES, Told, backend

import outthink as ot
from outthink.bench.tasks import load
from outthink.core.branch import Branch
from outthink.core.errors import BadInput, Misuse
from outthink.core.problem import Problem
from outthink.core.types import Answer, Budget, Candidate, Sampling, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace
from outthink.strategy import (
    AbMcts,
    AStar,
    Beam,
    DiverseBeam,
    Dvts,
    Lattice,
    Lookahead,
    Mcts,
    Mits,
    Phi,
    Rebase,
    Tot,
)
from outthink.verify import Steps

JUDGED: list[Callable[[Any], Any]] = [
    lambda v: AStar(v, expand=3),
    lambda v: AStar(v, expand=2, enough=1.0),
    lambda v: AbMcts(v, simulations=40),
    lambda v: AbMcts(v, simulations=40, rollout=False),
    lambda v: Beam(v, width=2, expand=3),
    lambda v: Dvts(v, trees=2, expand=3),
    lambda v: Lookahead(v, width=2, expand=3),
    lambda v: Mcts(v, simulations=6, expand=3),
    lambda v: Mcts(v, simulations=4, expand=2, rollout=True, rule="puct", wave=2),
    lambda v: Rebase(v, n=6),
    lambda v: Tot(v, width=2, expand=3),
    lambda v: Tot(v, order="depth", expand=3),
]
UNJUDGED = [
    DiverseBeam(),
    Lattice(n=4),
    Lattice(n=4, complete=False),
    Phi(width=2, expand=3, agree=2.0),
    Mits(width=2, expand=3, blank="QQ"),
]
ALL = [*(make(Told()) for make in JUDGED), *UNJUDGED]


@dataclass(frozen=True)
class Bad:
    """A verifier that misbehaves at its second call."""

    how: str
    calls: tuple[list[int], ...] = ([],)
    records = ()

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Any]:
        self.calls[0].append(1)
        scores: list[Any] = [Score(VALUES[c.text]) for c in candidates]
        if len(self.calls[0]) < 2:
            return scores
        if self.how == "raises":
            raise RuntimeError("the judge is out")
        return {
            "nan": [Score(math.nan), *scores[1:]],
            "fewer": scores[1:],
            "more": [*scores, Score(1.0)],
            "mixed": [0.5, *scores[1:]],
        }[self.how]


@pytest.mark.parametrize("make", JUDGED, ids=lambda make: repr(make(Told())))
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", "not a score"),
        ("fewer", "scores for"),
        ("more", "scores for"),
        ("mixed", "not a score"),
        ("raises", "the judge is out"),
    ],
)
def test_a_verifier_that_misbehaves_ends_the_search_with_its_name(
    make: Callable[[Any], Any], how: str, message: str
) -> None:
    engine = Engine(backend(), slots=4000)
    with pytest.raises((Misuse, RuntimeError), match=message):
        engine.run(Request(make(Bad(how, ([],))), Problem("Q"), sampling=Sampling(1.0)))
    engine.main.tree.check()
    assert not [node for node in engine.main.tree.nodes() if node.cursors]
    assert engine.run(Request(make(Told()), Problem("Q"), sampling=Sampling(1.0))).text in LEAVES


@pytest.mark.parametrize("value", [-math.inf, math.inf, -2000.0])
@pytest.mark.parametrize(
    "make", [m for m in JUDGED if repr(m(Told()))[:2] != "a_"], ids=lambda make: repr(make(Told()))
)
def test_extreme_scores_still_give_an_answer(make: Callable[[Any], Any], value: float) -> None:
    strategy = make(Told(dict.fromkeys(VALUES, value)))
    if isinstance(strategy, AbMcts):
        strategy = replace(strategy, posterior="gaussian")
    if isinstance(strategy, Rebase) and math.isfinite(value):  # a vote refuses weights below 0
        strategy = replace(strategy, select="best")
    request = Request(strategy, Problem("Q"), sampling=Sampling(1.0))
    if isinstance(strategy, AbMcts) and value == math.inf:
        with pytest.raises(BadInput, match="must be finite"):
            Engine(backend(), slots=4000).run(request)
    else:
        assert Engine(backend(), slots=4000).run(request).text in LEAVES


# ----------------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize("strategy", ALL, ids=repr)
def test_every_budget_of_at_least_a_token_gives_an_answer_and_is_kept(strategy: Any) -> None:
    for cap in (*range(1, 12), 17, 29, 53):
        request = Request(strategy, Problem("Q"), budget=Budget(written=cap), sampling=Sampling(1.0))
        answer = Engine(backend(), slots=4000).run(request)
        assert answer.receipt.logical.written <= cap  # type: ignore[union-attr]
        assert answer.text


@pytest.mark.parametrize("make", JUDGED, ids=lambda make: repr(make(Told())))
def test_a_budget_that_ends_in_mid_round_leaves_the_best_that_was_judged(make: Callable[[Any], Any]) -> None:
    """Whatever the cap: all solutions that had ended are judged, the best is the answer, and the receipt says
    that the budget ended the search, and in which round."""
    cut = 0
    for cap in range(8, 70, 3):
        verifier, trace = Told(), Ends()
        strategy = replace(make(verifier), step_tokens=6)
        if hasattr(strategy, "select"):
            strategy = replace(strategy, select="best")
        request = Request(strategy, Problem("Q"), budget=Budget(written=cap), sampling=Sampling(1.0))
        answer = Engine(backend(), slots=4000, trace=trace).run(request)
        judged = {text for batch in verifier.log for text in batch if text in LEAVES}
        notes = [d.why for d in answer.receipt.degradations if d.what == "budget"]  # type: ignore[union-attr]
        if notes and judged:
            cut += 1
            assert "written ended the search in round" in notes[0]
            assert answer.text == max(judged, key=lambda text: VALUES[text])
            assert {a.text for a in (answer, *answer.others)} == judged == trace.texts
        if cap >= 8:  # what is kept back is enough to complete what the search left unfinished
            assert answer.text in LEAVES
        assert notes or answer.receipt.finish != "done" or cap > 10  # type: ignore[union-attr]
    assert cut


@pytest.mark.parametrize("make", JUDGED, ids=lambda make: repr(make(Told())))
def test_a_cap_that_ends_the_whole_run_leaves_the_best_offer(make: Callable[[Any], Any]) -> None:
    """A cap on positions leaves nothing for judging: the best complete solution that was judged stands."""
    cut = 0
    for cap in range(4, 24):
        verifier = Told()
        strategy = make(verifier)
        if hasattr(strategy, "select"):
            strategy = replace(strategy, select="best")
        request = Request(strategy, Problem("Q"), budget=Budget(positions=cap), sampling=Sampling(1.0))
        answer = Engine(backend(), slots=4000).run(request)
        judged = [text for batch in verifier.log for text in batch]
        complete = [text for text in judged if text in LEAVES]
        if answer.receipt.finish != "done":  # type: ignore[union-attr]
            cut += 1
            if complete:
                assert answer.text == max(complete, key=lambda text: VALUES[text])
            elif judged and answer.text not in LEAVES:  # a leaf that nobody judged yet is more than a part
                assert answer.score == max(VALUES[text] for text in judged)
    assert cut


class Ends(Trace):
    """Texts that were written to their end."""

    def __init__(self) -> None:
        self.texts: set[str] = set()

    def offered(self, run: Any, answer: Answer) -> None:
        self.texts |= {answer.text} if answer.finish == "eos" else set()


@pytest.mark.parametrize("make", JUDGED, ids=lambda make: repr(make(Told())))
def test_a_budget_for_one_sample_is_a_sample(make: Callable[[Any], Any]) -> None:
    """What is kept back to complete an answer is all there is: one text is written, to its end."""
    request = Request(make(Told()), Problem("Q"), budget=Budget(written=6), sampling=Sampling(1.0))
    answer = Engine(backend(), slots=4000).run(request)
    assert answer.text in LEAVES
    assert answer.receipt.logical.written == 6  # type: ignore[union-attr]


@pytest.mark.parametrize("strategy", ALL, ids=repr)
@pytest.mark.parametrize("cap", [1, 2])
def test_a_cap_on_the_answers_length_is_kept(strategy: Any, cap: int) -> None:
    request = Request(strategy, Problem("Q"), sampling=Sampling(1.0, max_tokens=cap))
    values = {text[:i] for text in VALUES for i in range(7)}
    if hasattr(strategy, "verifier"):
        strategy = replace(strategy, verifier=Told(dict.fromkeys(values, 0.5)))
    answer = Engine(backend(), slots=4000).run(replace(request, strategy=strategy))
    assert answer.tokens == cap and answer.finish == "length"


def test_a_block_with_its_own_cap_leaves_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search inside `limit` ends at the cap of the block, and the strategy around it goes on."""

    @dataclass(frozen=True)
    class Around:
        async def __call__(self, root: Branch, /) -> Answer:
            with root.limit("block", written=4):
                return await Beam(Told(), width=2, expand=3)(root)
            await root.generate()
            return Answer("after: " + root.text())

    answer = Engine(backend(), slots=4000).run(Request(Around(), Problem("Q"), sampling=Sampling(1.0)))
    assert answer.text.startswith("after: ") and answer.receipt.by_scope["run/block"].written <= 4  # type: ignore[union-attr]


# -------------------------------------------------------------------------------------- sharing, schedule


@pytest.mark.parametrize("strategy", ALL, ids=repr)
def test_no_token_is_evaluated_twice(strategy: Any) -> None:
    for seed in range(3):
        request = Request(strategy, Problem("Q"), sampling=Sampling(1.0), seed=seed)
        receipt = Engine(backend(), slots=4000).run(request).receipt
        assert receipt is not None
        assert receipt.actual.positions <= 1.05 * receipt.logical.positions


ON_POCKET = [
    AStar(Steps()),
    AStar(Steps(), enough=1.0),
    AbMcts(Steps(), simulations=24),
    Beam(Steps(), width=3),
    DiverseBeam(),
    Dvts(Steps(), trees=3),
    Lattice(n=4, expansions=96),
    Lookahead(Steps(), width=2),
    Mcts(Steps(), simulations=6),
    Mits(width=2),
    Phi(),
    Rebase(Steps(), n=8),
    Tot(Steps(), order="depth"),
]


@pytest.mark.parametrize("strategy", ON_POCKET, ids=repr)
def test_on_a_real_model_no_token_is_evaluated_twice(strategy: Any) -> None:
    """The receipt counts both: what was evaluated, and the distinct tokens that had to be."""
    lm = ot.load("pocket-mini", threads=1)
    receipt = lm.run(Request(strategy, load("countdown").problem("test", 3), seed=1)).receipt
    assert receipt is not None and receipt.finish == "done"
    assert receipt.logical.positions > 60
    assert receipt.actual.positions <= 1.05 * receipt.logical.positions


@pytest.mark.parametrize("strategy", ALL, ids=repr)
def test_batches_and_company_change_nothing(strategy: Any) -> None:
    def request(seed: int, cap: int | None = None) -> Request:
        return Request(
            strategy, Problem("Q"), sampling=Sampling(1.0), seed=seed, budget=Budget(written=cap), tag=seed
        )

    alone = {s: Engine(backend(), slots=4000).run(request(s)) for s in range(3)}
    for batch in (1, 2, 5):
        engine = Engine(backend(), slots=4000, max_batch=batch)
        for done in engine.map([request(s) for s in range(3)]):
            assert done.answer is not None
            before = alone[done.request.tag]
            assert (done.answer.text, done.answer.score) == (before.text, before.score)
            assert done.answer.receipt.logical == before.receipt.logical  # type: ignore[union-attr]
