"""Accept rules write the model's own distribution: every outcome of drafter, rule and model is enumerated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from drawing import Drawing

from outthink.backends.toy import hashed, toy
from outthink.core.draft import Draft
from outthink.core.drafting import Accepted, AcceptRule, Drafter, Outcome, Target
from outthink.core.errors import Misuse
from outthink.core.rng import Chance
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.speculate import Copy, Jacobi, Stand
from outthink.speculate.rules import Block, Match, Recursive, Rejection
from outthink.speculate.rules._rows import pick, residual, target_row
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote
from outthink.testing.enumerate import Oracle, OracleChance, enumerate_runs

VOCAB = 3
LOGITS = hashed(VOCAB, scale=1.5, seed=7)
OTHER = hashed(VOCAB, scale=1.5, seed=8)  # what drafts are drawn from
RULES: list[AcceptRule] = [Match(), Rejection(), Recursive(), Block()]
CHAIN, PAIR = Drawing(OTHER, (1, 1)), Drawing(OTHER, (2, 1))
DRAFTERS: list[Drafter] = [CHAIN, PAIR, Drawing(OTHER, (2,), True), Drawing(OTHER, (3,))]
SAMPLINGS = [
    Sampling(temperature=0.9, max_tokens=3),
    Sampling(temperature=0.7, max_tokens=3, top_p=0.8),
    Sampling(temperature=1.2, max_tokens=3, repetition_penalty=1.5, presence_penalty=0.4, min_p=0.1),
    Sampling(temperature=0.0, max_tokens=3),
]
Truth = dict[str, float]


def spread(
    sampling: Sampling,
    drafter: Drafter | None = None,
    rule: AcceptRule | None = None,
    strategy: Any = None,
) -> Truth:
    """The exact distribution of the text. The prompt is one token: the first pass has a draft already."""
    request = Request(strategy or Once(), "a", sampling=sampling, speculate=drafter, accept=rule)
    return enumerate_runs(lambda: toy(LOGITS, VOCAB, context=16), request, lambda a: a.text, max_batch=2)


def apart(a: Truth, b: Truth) -> float:
    """Total variation."""
    return sum(abs(a.get(k, 0.0) - b.get(k, 0.0)) for k in {*a, *b}) / 2


@pytest.fixture(scope="module")
def plain() -> dict[Sampling, Truth]:
    return {sampling: spread(sampling) for sampling in SAMPLINGS}


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["plain", "top_p", "penalties", "greedy"])
@pytest.mark.parametrize("drafter", DRAFTERS, ids=repr)
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_rules_are_exact(
    rule: AcceptRule, drafter: Drafter, sampling: Sampling, plain: dict[Sampling, Truth]
) -> None:
    assert rule.lossless
    if isinstance(rule, Match) or (drafter is PAIR and sampling is SAMPLINGS[0]):  # else it takes long
        sampling = replace(sampling, max_tokens=2)
        assert apart(spread(sampling, drafter, rule), spread(sampling)) < 1e-9
    else:
        assert apart(spread(sampling, drafter, rule), plain[sampling]) < 1e-9


@pytest.mark.parametrize("rule", [Recursive(), Block()], ids=repr)
def test_they_are_exact_where_the_pass_has_no_room_for_the_draft(rule: AcceptRule) -> None:
    """Two branches with a draft each in a pass of three rows: the second's node is judged without its row."""
    small = hashed(2, scale=1.0, seed=3)
    request = Request(Vote(n=2), "aa", sampling=Sampling(max_tokens=3, ignore_eos=True))
    unseen: list[int] = []

    class Noting(type(rule)):  # type: ignore[misc]
        def __call__(self, target: Target, draft: Draft, chance: Any, position: int) -> Accepted:
            unseen.extend(node for node in range(len(draft.tokens)) if not target.has(node))
            return super().__call__(target, draft, chance, position)  # type: ignore[no-any-return]

    def both(a: Any) -> str:
        return "|".join(one.text for one in (a, *a.others))

    def spread_of(asked: Request) -> Truth:
        return enumerate_runs(lambda: toy(small, 2), asked, both, max_batch=2, max_rows=3)

    drafter = Drawing(hashed(2, scale=1.0, seed=4), (1,))
    drafted = spread_of(replace(request, speculate=drafter, accept=Noting()))
    assert unseen and apart(drafted, spread_of(request)) < 1e-9


@pytest.mark.parametrize(
    "drafter", [Stand(order=2, k=2, shape=(2, 1)), Copy(m=1), Jacobi(window=2)], ids=repr
)
@pytest.mark.parametrize("rule", [Recursive(), Block()], ids=repr)
def test_they_are_exact_with_the_drafters_of_the_package(rule: AcceptRule, drafter: Drafter) -> None:
    sampling = Sampling(temperature=0.9, max_tokens=4)
    assert apart(spread(sampling, drafter, rule), spread(sampling)) < 1e-9


# ------------------------------------------------------------------------------------- the checks can fail


@dataclass(frozen=True)
class Careless:
    """Rejection with one thing wrong."""

    wrong: str
    lossless = True
    reads_rows = True

    def __call__(
        self, target: Target, draft: Draft, chance: Callable[[str], Chance], position: int
    ) -> Accepted:
        accept, path, at = chance("accept"), list[int](), -1
        for node, token in enumerate(draft.tokens):
            p, q = target_row(target, at), np.exp(np.array(draft.dists[node]))
            if not accept.flip(min(1.0, p[token] / q[token]), position + node):
                left = {"residual": p, "sign": residual(q, p)}.get(self.wrong, residual(p, q))
                return Accepted(tuple(path), pick(chance("token"), left, position + node))
            path.append(node)
            at = node
        last = target_row(target, path[-2] if self.wrong == "bonus" and len(path) > 1 else at)
        return Accepted(tuple(path), pick(chance("token"), last, position + len(path)))


@pytest.mark.parametrize(("wrong", "least"), [("", 0.0), ("residual", 0.02), ("sign", 0.02), ("bonus", 0.02)])
def test_a_wrong_rule_is_caught(wrong: str, least: float, plain: dict[Sampling, Truth]) -> None:
    off = apart(spread(SAMPLINGS[0], CHAIN, Careless(wrong)), plain[SAMPLINGS[0]])
    assert off > least if wrong else off < 1e-9


def test_drafts_that_are_cut_by_their_own_probabilities_are_caught(plain: dict[Sampling, Truth]) -> None:
    """Only `match` bears it: dropping unlikely drafts before rejection parts the distributions."""

    def sure(draft: Draft) -> Draft | None:
        is_sure = [i for i, t in enumerate(draft.tokens) if math.exp(draft.dists[i][t]) >= 0.3]
        kept = next((i for i in range(len(draft.tokens)) if i not in is_sure), len(draft.tokens))
        return draft.keep(range(kept)) if kept else None

    drafter = replace(CHAIN, cut=sure)
    assert apart(spread(SAMPLINGS[0], drafter, Rejection()), plain[SAMPLINGS[0]]) > 0.02
    assert apart(spread(SAMPLINGS[0], drafter, Match()), plain[SAMPLINGS[0]]) < 1e-9


def test_an_end_that_is_drafted_must_be_judged(
    plain: dict[Sampling, Truth], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking ends of the text out of a draft is a cut by value: `rejection` hears of them."""
    end = Drawing(lambda prefix: [0.0, -1.0, -1.0], (1, 1))  # token 0 ends the text
    assert apart(spread(SAMPLINGS[0], end, Rejection()), plain[SAMPLINGS[0]]) < 1e-9
    gone = replace(end, cut=lambda d: None if d.tokens[0] == 0 else d)
    assert apart(spread(SAMPLINGS[0], gone, Rejection()), plain[SAMPLINGS[0]]) > 0.02


def test_a_residual_drawn_with_the_noise_of_the_draft_is_caught() -> None:
    """One token: draft = argmax log q + g; what is left drawn with the same g is wrong, with its own right.

    g goes over a grid of its quantiles, coins and the rule's own draws are enumerated.
    """
    p, q = np.array([0.45, 0.45, 0.1]), np.array([0.05, 0.3, 0.65])  # two tokens are left to draw from
    middles = -np.log(-np.log((np.arange(20) + 0.5) / 20))
    found = {"own": np.zeros(3), "shared": np.zeros(3)}
    for g in itertools.product(middles, repeat=3):
        token = int(np.argmax(np.log(q) + g))
        draft = Draft((token,), (-1,), (), (np.log(q),))
        for kind, total in found.items():
            for probability, written in _outcomes(p, draft, np.array(g) if kind == "shared" else None):
                total[written] += probability / 20**3
    off = {k: np.abs(v - p).sum() / 2 for k, v in found.items()}
    assert off["own"] < 0.005 < 0.03 < off["shared"], off


class One:
    """A target with one row everywhere."""

    def __init__(self, p: Any) -> None:
        self.p = p

    def has(self, node: int) -> bool:
        return node < 0

    def token(self, node: int) -> int:
        raise AssertionError("the rule draws from rows")

    def row(self, node: int) -> Any:
        return np.log(self.p)


def _outcomes(p: Any, draft: Draft, shared: Any) -> list[tuple[float, int]]:
    """(probability, first token written) for every outcome of the rule's chance."""

    class Shared(OracleChance):
        def subset(self, logw: Any, k: int, index: int = 0) -> list[int]:
            return [int(np.argmax(np.array(logw) + shared))]

    found, script = list[tuple[float, int]](), list[int]()
    while script is not None:
        oracle = Oracle(script)
        kind = OracleChance if shared is None else Shared
        path, token = Rejection()(One(p), draft, lambda name, o=oracle, k=kind: k(0, o, name), 5)
        assert not path
        found.append((oracle.probability, token))
        script = oracle.next_script()
    return found


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_only_a_rule_that_draws_by_the_noise_lets_drafts_know_it(rule: AcceptRule) -> None:
    studios: list[Any] = []
    heard: list[Outcome] = []

    class Listening(Drawing):
        def open(self, studio: Any) -> Any:
            studios.append(studio)
            source = super().open(studio)
            source.observe = lambda tip, outcome: heard.append(outcome)  # type: ignore[method-assign]
            return source

    sampling = Sampling(temperature=1.0, max_tokens=20, ignore_eos=True)
    request = Request(Once(), "a", sampling=sampling, speculate=Listening(OTHER, (2, 1)), accept=rule)
    Engine(toy(LOGITS, VOCAB)).run(request)
    [studio] = studios
    assert studio.shares_noise is isinstance(rule, Match)
    knows_more = any(len(outcome.drawn) > len(outcome.tokens) for outcome in heard)
    assert knows_more is isinstance(rule, Match), "what was drawn and not written is noise of places to come"


def test_chance_that_is_used_twice_is_refused() -> None:
    chance = Oracle([]).chance(1, "accept")
    assert chance.flip(0.5, 3) == chance.flip(0.5, 3)
    with pytest.raises(AssertionError, match="used twice at index 3"):
        chance.flip(0.4, 3)
    with pytest.raises(Misuse, match="cannot be enumerated"):
        chance.uniform()


def test_a_token_of_a_large_vocabulary_is_drawn_in_two_steps() -> None:
    weights = np.array([0.0, 0.1, 0.4, 0.0, 0.5] + [0.0] * 95)
    found = np.zeros(100)
    script: list[int] | None = []
    while script is not None:
        oracle = Oracle(script)
        found[pick(oracle.chance(0, "token"), weights, 0)] += oracle.probability
        script = oracle.next_script()
    assert np.abs(found - weights).max() < 1e-12
