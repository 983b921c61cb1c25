"""Drafters at their edges: short and uniform texts, no room, text without end, sources that do harm."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import combinations
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from drafters import Asking, wild
from drawing import Drawing
from scripted import told

from outthink.backends.toy import hashed, toy
from outthink.core import rng
from outthink.core.draft import Draft, path_probabilities
from outthink.core.drafting import Outcome, Tip
from outthink.core.types import Answer, Sampling
from outthink.engine.choice import choose
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.speculate import (
    Auto,
    Consensus,
    Copy,
    Exit,
    Hierarchy,
    Int8,
    Jacobi,
    Recycling,
    Skip,
    Stand,
    Trie,
)  # fmt: skip
from outthink.speculate import copy as copying
from outthink.speculate._trees import best_nodes
from outthink.speculate.rules import Block, Recursive, Rejection
from outthink.strategy.vote import Vote

LOOKUPS: list[Any] = [
    Copy(), Copy(n=1, m=1), Trie(m=1), Trie(shape=(4, 2, 1)), Consensus(m=1), Consensus(shape="chain"),
    Recycling(), Recycling(k=8, n=64, shape=(8, 3, 1)), Jacobi(), Stand(), Stand(shape="chain"), Hierarchy(),
]  # fmt: skip
EVERY: list[Any] = [*LOOKUPS, Auto(), Int8(), Skip(), Exit()]
ASKED = Sampling(temperature=1.0, max_tokens=12, ignore_eos=True)
LONG = Sampling(temperature=1.0, max_tokens=24, ignore_eos=True)
ENDING = Sampling(temperature=1.0, max_tokens=24)


def run(drafter: Any, prompt: str = "abc", sampling: Sampling = ASKED, **given: Any) -> Answer:
    return engine(**given).run(Request(Vote(n=3), prompt, sampling=sampling, speculate=drafter))


def engine(logits: Any = None, vocab: int = 4, **given: Any) -> Engine:
    return Engine(toy(logits or hashed(4), vocab, given.pop("context", 4096)), **given)


def notes(answer: Answer) -> list[tuple[str, str]]:
    assert answer.receipt is not None
    return [(note.what, note.why) for note in answer.receipt.degradations if "drafter" in note.what]


# ---- texts and rooms

EDGES: dict[str, dict[str, Any]] = {
    "one token of context": {"prompt": "a"},
    "all tokens equal": {"prompt": "a" * 12, "logits": lambda prefix: [0.0, 9.0, 0.0, 0.0]},
    "every token as likely": {"prompt": "abcabc", "logits": lambda prefix: [0.0] * 4},
    "a vocabulary of two": {"prompt": "a", "logits": hashed(2), "vocab": 2},
    "no room": {"sampling": Sampling(temperature=1.0, max_tokens=1)},
    "room of one": {"sampling": Sampling(temperature=1.0, max_tokens=2, ignore_eos=True)},
    "the end of the context": {"context": 9, "sampling": Sampling(temperature=1.0, ignore_eos=True)},
    "one row a pass": {"max_rows": 1, "max_batch": 1, "sampling": ASKED},
    "ends everywhere": {"prompt": "abaab", "logits": lambda prefix: [2.0, 1.0, 0.5, 0.0], "sampling": ENDING},
    "greedy": {"prompt": "abcabc", "sampling": replace(LONG, temperature=0.0)},
    "hardly warm": {"prompt": "abcabc", "sampling": replace(LONG, temperature=1e-4)},
    "very hot": {"prompt": "abcabc", "sampling": replace(LONG, temperature=100.0)},
    "one token allowed": {"prompt": "abc", "sampling": replace(LONG, top_k=1)},
}  # fmt: skip


@pytest.mark.parametrize("edge", EDGES)
def test_at_an_edge_the_text_stays_and_nobody_complains(edge: str) -> None:
    given = EDGES[edge]
    plain = told(run("none", **given))
    for drafter in EVERY:
        answer = run(drafter, **given)
        assert told(answer) == plain and notes(answer) == [], drafter


def test_a_vocabulary_of_one() -> None:
    """There is nothing to be wrong about."""
    studio: Any = SimpleNamespace(vocab=1, tokenizer=None, ends=frozenset(), shares_noise=True)
    for drafter in LOOKUPS:
        source, tip = drafter.open(studio), Tip([0], 1, Sampling(temperature=1.0), key=5)
        for _ in range(20):
            draft = source.propose(tip, 3, 5)
            assert draft is None or set(draft.tokens) == {0}
            tip.grow([0])
            tops = {-1: ((0, 0.0),)} if source.tops else {}
            source.observe(tip, Outcome(None, {-1: 0}, (), (0,), tops))
        source.end(tip)
        assert draft is not None or isinstance(drafter, Consensus)


def test_ties_go_to_the_one_found_first() -> None:
    """Equal probabilities everywhere: the same tree each time, in the order of the guesses."""

    def expand(state: int) -> list[tuple[int, float, int, int]]:
        return [(token, 0.5, 0, state + 1) for token in (3, 1, 2)]

    guess = best_nodes(expand, 0, 4, 7, "x")
    assert guess is not None and guess.draft.tokens[:3] == (3, 1, 2)
    assert guess.draft.parents == (-1, -1, -1, 0, 0, 0, 1)


# ---- text without end


@pytest.mark.parametrize("drafter", [Copy(), Trie(), Consensus(), Recycling(), Jacobi(), Stand()], ids=repr)
def test_a_token_costs_as_much_late_in_a_long_text_as_early(drafter: Any) -> None:
    """Calls of functions over tokens 4000-5000 and 9000-10000 of a text with repeats; bytes are bounded."""
    random, vocab = Random(3), 50
    studio: Any = SimpleNamespace(
        vocab=vocab, tokenizer=None, ends=frozenset(), shares_noise=True, chance=lambda tip: rng.Chance(7)
    )
    source, tip = drafter.open(studio), Tip([1, 2], 1, Sampling(temperature=1.0), key=5)
    phrases = [[random.randrange(vocab) for _ in range(12)] for _ in range(40)]
    calls, held = [0] * 10, [0.0] * 10

    def count(frame: Any, event: str, argument: Any) -> None:
        calls[min(9, len(tip.tokens) // 1000)] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        while len(tip.tokens) < 10_000:
            for i, token in enumerate(random.choice(phrases)):
                if i % 6 == 0:
                    source.propose(tip, 8, 16)
                tip.grow([token])
                tops = {-1: tuple(((token + i) % vocab, -1.0 - i) for i in range(source.tops))}
                source.observe(tip, Outcome(None, {-1: token}, (), (token,), tops))
            held[min(9, len(tip.tokens) // 1000)] = getattr(source, "state_bytes", 0.0)
    finally:
        sys.setprofile(None)
    assert calls[9] < 1.3 * calls[4], calls
    assert held[9] <= 400 * 10_000 * 3, held
    noise = getattr(tip.local.get(source), "noise", None)
    assert noise is None or len(noise.rows) <= 256, "noise of places that are long passed"


def test_the_indices_of_long_texts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their tokens together, the oldest first; the latest text stays whatever its length."""
    monkeypatch.setattr(copying, "TOKENS", 300)
    source: Any = Copy().open(SimpleNamespace())  # type: ignore[arg-type]
    for start in range(20):
        tip = Tip([start, *range(100)], 1, ASKED)
        source.propose(tip, 4, 4)
        tip.grow([1])
        source.observe(tip, Outcome(None, {-1: 1}, (), (1,), {}))
        source.end(tip)
        assert sum(len(index.before) for index in source.known.marks.values()) <= 300
    assert source.known.longest(tip.tokens)[0] == len(tip.tokens)


@pytest.mark.parametrize("rule", [Rejection(), Recursive(), Block()], ids=repr)
def test_at_temperature_0_drafts_that_are_drawn_change_nothing(rule: Any) -> None:
    """One token has all probability there: whatever is drafted from whatever distribution."""
    greedy = replace(LONG, temperature=0.0)
    plain = told(run("none", "abcabc", greedy))
    drawing = Drawing(lambda prefix: [math.log(0.25)] * 4, (2, 2, 1))
    drafters: list[Any] = [*LOOKUPS, drawing]
    for drafter in drafters:
        request = Request(Vote(n=3), "abcabc", sampling=greedy, speculate=drafter, accept=rule)
        assert told(engine().run(request)) == plain, drafter


# ---- what is chosen is the best there is


def ways(draft: Draft) -> list[tuple[int, ...]]:
    """The tokens from the tip to each node."""
    found: list[tuple[int, ...]] = []
    for token, parent in zip(draft.tokens, draft.parents, strict=True):
        found.append((*found[parent], token) if parent >= 0 else (token,))
    return found


@pytest.mark.parametrize("where", [3, 2, 1])
def test_the_choice_over_a_batch_is_the_best_of_all(where: int) -> None:
    """Against every choice of rows with those above them, for up to three trees from so many places, under
    steep and flat v: what trees from one place have in common is one row that writes for each."""
    random = Random(5)
    for _ in range(60):
        drafts, tips = list[Draft](), list[int]()
        for i in range(random.randint(1, 3)):
            n = random.randint(1, 3)
            conf = tuple(random.choice((0.0, 0.3, 0.5, 0.9, 1.0)) for _ in range(n))
            drafts.append(Draft(tuple(range(n)), tuple(random.randint(-1, i - 1) for i in range(n)), conf))
            tips.append(i % where)
        branches, rows = len(drafts), len(set(tips)) + random.randint(0, 2)
        v = [1.0 + random.choice((0.0, 0.1, 0.4)) * r for r in range(20)]
        room = random.randint(0, 7)
        gains: dict[tuple[int, ...], float] = {}  # by (tip, *tokens to the node)
        for draft, tip in zip(drafts, tips, strict=True):
            for way, likely in zip(ways(draft), path_probabilities(draft), strict=True):
                gains[tip, *way] = gains.get((tip, *way), 0.0) + likely
        best = branches / v[rows]
        for count in range(1, min(room, len(gains)) + 1):
            for chosen in combinations(gains, count):
                if all(len(way) == 2 or way[:-1] in chosen for way in chosen):
                    best = max(best, (branches + sum(gains[way] for way in chosen)) / v[rows + count])
        found = choose(drafts, tips, branches, rows, room, v)
        kept = {(tip, *way) for tip, draft in zip(tips, found, strict=True) for way in ways(draft)}
        gained = sum(sum(path_probabilities(draft)) for draft in found)
        assert len(kept) <= room and (branches + gained) / v[rows + len(kept)] == pytest.approx(
            best, rel=1e-12
        )


def test_the_rows_that_sources_hear_of_are_those_that_were_evaluated() -> None:
    """Each once, whoever shares it; of the prompt only the last one."""
    drafter, prompt = Asking(wild(4)), "abcabc"
    sampling = Sampling(temperature=1.0, max_tokens=20, ignore_eos=True)
    answer = engine().run(Request(Vote(n=6), prompt, sampling=sampling, speculate=drafter))
    assert answer.receipt is not None
    heard = [outcome for source in drafter.sources for outcome in source.heard]
    rows, drafted = sum(o.rows for o in heard), sum(len(o.drawn) for o in heard)
    assert answer.receipt.actual.positions == rows + len(prompt) - 1
    assert 0 < rows < drafted, "branches share what they draft"


def test_swift_finds_the_layer_that_must_stay() -> None:
    """Eight layers: without layer 3, which the first set leaves out, one token in five is right, else nine in
    ten. The set that is in use most, after a while, keeps it and is worth more than the first."""
    for seed in range(5):
        studio: Any = SimpleNamespace(layers=8, luck=lambda name, seed=seed: rng.Chance(seed))
        source, random = Skip(n=4).open(studio), Random(seed)
        tip, first, used = Tip([1], 1, ASKED), source.out, list[frozenset[int]]()
        assert 3 in first
        for _ in range(3000):
            right = 0.2 if 3 in source.out else 0.9
            hits = next((i for i in range(4) if random.random() > right), 4)
            draft = Draft.chain([1] * 4, by="skip")
            source.observe(tip, Outcome(draft, {}, tuple(range(hits)), (1,) * (hits + 1), {}))
            used.append(source.out)
        assert sum(3 in out for out in used[1500:]) < 0.1 * 1500
        best = max(source.values, key=source.values.__getitem__)
        assert source.values[best] > 1.5 * source.values[first]


def test_swift_moves_on_from_a_set_that_is_never_sure() -> None:
    """Its variant drafts nothing: passes in vain, which count against it."""
    studio: Any = SimpleNamespace(layers=8, luck=lambda name: rng.Chance(1))
    source = Skip(n=4).open(studio)
    first = source.out
    for _ in range(400):
        source.observe(Tip([1], 1, ASKED), Outcome(None, {-1: 1}, (), (1,), {}))
    assert source.values[first] < 1 and len(source.values) > 2


def test_recycling_walks_its_matrix_breadth_first_where_the_shape_is_fixed() -> None:
    """The tree of the paper's kind: all of one level before the next, from the candidates of each token."""
    studio: Any = SimpleNamespace(vocab=9)
    source, tip = Recycling(k=3, n=64, shape=(3, 2, 1)).open(studio), Tip([0], 1, ASKED)
    for token in range(9):
        source.matrix[token] = [(token + 1) % 9, (token + 2) % 9, (token + 3) % 9]
    draft = source.propose(tip, 3, 64)
    assert draft is not None and draft.tokens == (1, 2, 3, 2, 3, 3, 4, 4, 5, 3, 4, 4, 5, 5, 6)
    assert draft.parents == (-1, -1, -1, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8)
