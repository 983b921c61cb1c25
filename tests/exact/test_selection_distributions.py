"""The distributions of selection strategies on a toy model equal their enumeration, written a second time
here.

The final answer of a text is its first letter, so that several paths lead to one answer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.about import About
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import (
    BestOfMajority,
    ComplexityVote,
    CotDecode,
    DeepConf,
    Fractured,
    ModelSwitch,
    PerplexityConsistency,
    Race,
    Sample,
    SemanticEntropy,
    SetCover,
    Temperatures,
    WeightedVote,
)
from outthink.testing.enumerate import enumerate_runs
from outthink.text import Extraction
from outthink.verify import Certainty

VOCAB, LONGEST = 3, 2
LOGITS, OTHER = hashed(VOCAB, scale=1.5, seed=7), hashed(VOCAB, scale=1.5, seed=8)
TEMPERATURE = 0.9
Tokens = tuple[int, ...]
Path = tuple[Tokens, float]  # tokens, probability


@pytest.fixture(autouse=True)
def finals_are_first_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(text: str) -> Extraction:
        return Extraction(text[:1] or None, "the first letter")

    monkeypatch.setattr("outthink.strategy.once.final_answer", first)
    monkeypatch.setattr("outthink.engine.request.final_answer", first)


def text(tokens: Iterable[int]) -> str:
    return "".join(".ab"[t] for t in tokens if t)


def final(tokens: Iterable[int]) -> str | None:
    return text(tokens)[:1] or None


def softmax(row: Sequence[float], temperature: float = 1.0) -> list[float]:
    weights = [math.exp(x / temperature) for x in row]
    return [w / sum(weights) for w in weights]


def paths(
    temperature: float = TEMPERATURE, prompt: Tokens = (1, 2), longest: int = LONGEST, logits: Any = LOGITS
) -> list[Path]:
    """All that one sample can be, by recursion on the model's definition."""
    found: list[Path] = []

    def grow(tokens: Tokens, p: float) -> None:
        if tokens and (tokens[-1] == 0 or len(tokens) == longest):
            found.append((tokens, p))
            return
        for token, q in enumerate(softmax(logits((*prompt, *tokens)), temperature)):
            grow((*tokens, token), p * q)

    grow((), 1.0)
    return found


def logps(tokens: Tokens) -> list[float]:
    """The log-probability of each token, without temperature."""
    return [math.log(softmax(LOGITS((1, 2, *tokens[:i])))[t]) for i, t in enumerate(tokens)]


def certainties(tokens: Tokens) -> list[float]:
    rows = [softmax(LOGITS((1, 2, *tokens[:i]))) for i in range(len(tokens))]
    return [sum(math.log(1 / VOCAB / p) for p in row) / VOCAB for row in rows]


def expected(sources: Sequence[list[Path]], pick: Callable[[list[Tokens]], str]) -> dict[str, float]:
    """The distribution of what is picked from independent samples, one from each source."""
    out: dict[str, float] = {}
    for drawn in itertools.product(*sources):
        key = pick([tokens for tokens, _ in drawn])
        out[key] = out.get(key, 0.0) + math.prod(p for _, p in drawn)
    return out


def heaviest(drawn: list[Tokens], weights: Sequence[float] | None = None) -> str:
    """The text that the heaviest answer came with first; ties to the answer that came first."""
    totals: dict[str, float] = {}
    for tokens, weight in zip(drawn, weights or [1.0] * len(drawn), strict=True):
        name = final(tokens)
        if name is not None:
            totals[name] = totals.get(name, 0.0) + weight
    if not totals:
        return text(drawn[0])
    winner = max(totals, key=lambda name: totals[name])
    return next(text(tokens) for tokens in drawn if final(tokens) == winner)


def run(strategy: Any, longest: int = LONGEST) -> dict[str, float]:
    request = Request(strategy, "ab", sampling=Sampling(temperature=TEMPERATURE, max_tokens=longest))
    return enumerate_runs(lambda: toy(LOGITS, VOCAB, context=16), request, lambda a: a.text)


def check(found: dict[str, float], truth: dict[str, float]) -> None:
    assert math.isclose(sum(found.values()), 1.0, abs_tol=1e-9)
    gaps = {k: (found.get(k, 0.0), truth.get(k, 0.0)) for k in {*found, *truth}}
    assert all(math.isclose(a, b, abs_tol=1e-9) for a, b in gaps.values()), gaps


def by_paths(drawn: list[Tokens]) -> str:
    chances = [math.exp(sum(logps(tokens))) for tokens in drawn]
    return heaviest(
        drawn, [p if t not in drawn[:i] else 0.0 for i, (t, p) in enumerate(zip(drawn, chances, strict=True))]
    )


def by_pruned_paths(drawn: list[Tokens]) -> str:
    chances = [math.exp(sum(logps(tokens))) for tokens in drawn]
    mean = sum(chances) / len(chances)
    once = [p if t not in drawn[:i] else 0.0 for i, (t, p) in enumerate(zip(drawn, chances, strict=True))]
    return heaviest(drawn, [w if p >= mean - 1e-12 else 0.0 for w, p in zip(once, chances, strict=True)])


def of_majority(drawn: list[Tokens]) -> str:
    """Answers given at least twice of three, or else all; of these the one with the best mean reward."""
    names = [final(tokens) for tokens in drawn]
    heard = [name for name in dict.fromkeys(names) if name is not None]
    kept = [name for name in heard if names.count(name) >= 2] or heard
    if not kept:
        return text(drawn[0])

    def reward(name: str) -> float:
        own = [sum(logps(t)) / len(t) for t in drawn if final(t) == name]
        return sum(own) / len(own)

    best = max(kept, key=reward)
    return next(text(tokens) for tokens in drawn if final(tokens) == best)


def of_the_complex(drawn: list[Tokens]) -> str:
    """A toy has no line ends: a text is one step, the empty one none."""
    return heaviest([t for t in drawn if text(t)] or drawn)


def by_rank(drawn: list[Tokens]) -> str:
    scores = [sum(certainties(t)) / len(t) for t in drawn]
    ranks = [
        1 + sum(o < s - 1e-12 for o in scores) + (sum(abs(o - s) <= 1e-12 for o in scores) - 1) / 2
        for s in scores
    ]
    return heaviest(drawn, [rank**2 for rank in ranks])


def confidently(drawn: list[Tokens]) -> str:
    """One warm-up trace, a window of one token: whoever falls below its lowest certainty has no vote,
    and is not there to be the answer."""
    lowest = [min(certainties(tokens)) for tokens in drawn]
    heard = [(t, low) for t, low in zip(drawn, lowest, strict=True) if low >= lowest[0] - 1e-12]
    return heaviest([t for t, _ in heard], [low for _, low in heard])


def covering(drawn: list[Tokens], every: int = 1) -> str:
    """After one round: ended ones stay; of the others greedily those that say most that is new, surely."""
    heads = [tokens[:every] for tokens in drawn]
    kept = [i for i, tokens in enumerate(drawn) if len(tokens) <= every]
    said = {token for i in kept for token in heads[i]}
    while said != {token for head in heads for token in head} or not kept:
        gains = {
            i: math.exp(sum(logps(head)) / len(head)) * len(set(head) - said)
            for i, head in enumerate(heads)
            if i not in kept
        }
        best = max(gains, key=lambda i: (gains[i], -i))
        kept.append(best)
        said |= set(heads[best])
    return heaviest([drawn[i] for i in sorted(kept)])


CASES: list[tuple[Any, dict[str, float]]] = [
    (PerplexityConsistency(n=3, pruned=False), expected([paths()] * 3, by_paths)),
    (PerplexityConsistency(n=3), expected([paths()] * 3, by_pruned_paths)),
    (BestOfMajority(n=3, share=0.5), expected([paths()] * 3, of_majority)),
    (ComplexityVote(n=3, share=0.3), expected([paths()] * 3, of_the_complex)),
    (WeightedVote(Certainty(), n=3, weight="rank", power=2.0), expected([paths()] * 3, by_rank)),
    (Temperatures(n=3, values=(0.5, 1.5)), expected([paths(0.5), paths(1.5), paths(0.5)], heaviest)),
    (
        Race((Sample(0.5), Sample(1.5), Sample(0.7))),
        expected([paths(0.5), paths(1.5), paths(0.7)], lambda drawn: text(min(drawn, key=len))),
    ),
    (DeepConf(n=3, warmup=1, window=1, check=1, keep=1.0), expected([paths()] * 3, confidently)),
    (SetCover(n=3, every=1), expected([paths()] * 3, covering)),
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "truth"), CASES, ids=[repr(strategy) for strategy, _ in CASES])
def test_distribution(strategy: Any, truth: dict[str, float]) -> None:
    check(run(strategy), truth)


def test_set_cover_keeps_the_surer_of_two_that_say_the_same() -> None:
    drawn = [paths(longest=3)] * 2
    check(run(SetCover(n=2, every=2), longest=3), expected(drawn, lambda own: covering(own, every=2)))


def entropy_is_zero(names: list[str | None]) -> bool:
    return len(set(names)) == 1 and names[0] is not None


def test_semantic_entropy_without_feeding_forward() -> None:
    """Two rounds of two: the second only where the first two differ; then all four vote."""
    truth: dict[str, float] = {}
    for drawn in itertools.product(paths(longest=1), repeat=4):
        own = [tokens for tokens, _ in drawn]
        key = heaviest(own[:2]) if entropy_is_zero([final(t) for t in own[:2]]) else heaviest(own)
        truth[key] = truth.get(key, 0.0) + math.prod(p for _, p in drawn)
    check(run(SemanticEntropy(n=2, rounds=2, threshold=0.1, prompt=""), longest=1), truth)


def test_semantic_entropy_shows_the_next_round_what_the_last_one_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer is "a" or none. A second round's prompt is the question and what was said; its vote
    counts."""

    def first(text: str) -> Extraction:
        return Extraction("a" if text[:1] == "a" else None, "")

    def pick(names: list[Tokens]) -> str:
        return next((text(t) for t in names if text(t) == "a"), text(names[0]))

    monkeypatch.setattr("outthink.strategy.once.final_answer", first)
    truth: dict[str, float] = {}
    for (x, p), (y, q) in itertools.product(paths(longest=1), repeat=2):
        said = [t for t in (x, y) if text(t) == "a"]
        if len(said) == 2:
            truth["a"] = truth.get("a", 0.0) + p * q
            continue
        again = paths(longest=1, prompt=(1, 2, *[1] * len(said)))
        for (v, r), (w, s) in itertools.product(again, repeat=2):
            key = pick([v, w])
            truth[key] = truth.get(key, 0.0) + p * q * r * s
    check(run(SemanticEntropy(n=2, rounds=2, threshold=0.1, prompt="{question}{answers}"), longest=1), truth)


def test_fractured_asks_again_from_half_of_the_trace() -> None:
    """One trace, cut at half, the cue "b", one token on. Two voices: the first, unless it says nothing."""
    truth: dict[str, float] = {}
    for trace, p in paths():
        half = trace[: len(trace) // 2]
        for (token,), q in paths(prompt=(1, 2, *half, 2), longest=1):
            again = (*half, 2, token)
            key = heaviest([trace, again])
            truth[key] = truth.get(key, 0.0) + p * q
    check(run(Fractured(n=1, m=1, depths=1, cue="b", answer=1)), truth)


def test_model_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two samples of one model; where they differ, two of another, voting with their models' consistency."""

    def engine(local: Any, **options: Any) -> Engine:
        made, other = Engine(local, **options), toy(OTHER, VOCAB, context=16)
        other.about = About("other", VOCAB, 16, frozenset({0}), local.about.prices)
        other.draw = local.draw
        made.add(other, slots=512)
        return made

    def consistency(names: list[str | None]) -> float:
        return 1.0 if entropy_is_zero(names) else 1 - math.log(2) / math.log(3)

    monkeypatch.setattr("outthink.testing.enumerate.Engine", engine)
    first, second = paths(longest=1), paths(longest=1, logits=OTHER)
    truth: dict[str, float] = {}
    for drawn in itertools.product(first, first, second, second):
        own = [tokens for tokens, _ in drawn]
        names = [final(t) for t in own]
        if entropy_is_zero(names[:2]):
            key = heaviest(own[:2])
        elif entropy_is_zero(names[2:]):
            key = heaviest(own[2:])
        else:
            a, b = consistency(names[:2]), consistency(names[2:])
            key = heaviest(own, [a, a, b, b])
        truth[key] = truth.get(key, 0.0) + math.prod(p for _, p in drawn)
    check(run(ModelSwitch(models=("other",), n=2), longest=1), truth)


def greedy_from(token: int, longest: int = 3) -> Tokens:
    tokens: Tokens = (token,)
    while tokens[-1] != 0 and len(tokens) < longest:
        row = LOGITS((1, 2, *tokens))
        tokens = (*tokens, max(range(VOCAB), key=lambda v: row[v]))
    return tokens


@pytest.mark.parametrize("pooled", [True, False])
def test_cot_decoding_scores_the_span_of_the_answer(pooled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is the second letter: its margin is that of the row before it. A path without one has
    none."""

    def second(text: str) -> Extraction:
        return Extraction(text[1:2] or None, "the second letter")

    monkeypatch.setattr("outthink.strategy.once.final_answer", second)
    row = softmax(LOGITS((1, 2)))
    starts = sorted(range(VOCAB), key=lambda v: -row[v])
    drawn = [greedy_from(token) for token in starts]

    def margin(tokens: Tokens) -> float:
        if len(text(tokens)) < 2:
            return 0.0
        at = text(tokens).rindex(text(tokens)[1])
        top = sorted(softmax(LOGITS((1, 2, *tokens[:at]))), reverse=True)
        return top[0] - top[1]

    totals: dict[str, float] = {}
    for tokens in drawn:
        if len(text(tokens)) >= 2:
            totals[text(tokens)[1]] = totals.get(text(tokens)[1], 0.0) + margin(tokens)
    winner = max(totals, key=lambda name: totals[name])
    pooled_text = next(text(t) for t in drawn if text(t)[1:2] == winner)
    single_text = text(max(drawn, key=margin))
    found = run(CotDecode(k=VOCAB, pooled=pooled), longest=3)
    check(found, {pooled_text if pooled else single_text: 1.0})
    request = Request(CotDecode(k=VOCAB, pooled=pooled), "ab", sampling=Sampling(max_tokens=3))
    answer = Engine(toy(LOGITS, VOCAB, context=16), slots=512).run(request)
    for one in answer.others if pooled else (answer, *answer.others):
        path = next(t for t in drawn if text(t) == one.text)
        assert one.score == pytest.approx(margin(path), abs=1e-12)


def test_fractured_forks_reuse_the_trace() -> None:
    """Positions are the distinct tokens: what the cut traces share with their trace is computed once."""
    local = toy(hashed(VOCAB, scale=1.5, shortest=8, seed=7), VOCAB, context=32)
    strategy = Fractured(n=1, m=2, depths=2, cue="b", answer=1)
    answer = Engine(local, slots=512).run(Request(strategy, "ab", sampling=Sampling(max_tokens=6)))
    assert answer.receipt is not None and len(answer.others) == 4
    prompt, trace, cues = (
        2,
        6 - 1,
        2,
    )  # a last token is never evaluated; the forks of one depth share their cue
    assert answer.receipt.logical.positions <= prompt + trace + cues
    assert answer.receipt.logical.written == 6 + 4 * 1
