"""Every strategy's answer distribution on a toy model equals the enumerated one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.problem import Problem, Secret
from outthink.core.types import Sampling
from outthink.engine.request import Request
from outthink.strategy.adaptive_vote import AdaptiveVote, lead_is_safe
from outthink.strategy.best_of_n import BestOfN
from outthink.strategy.greedy import Greedy
from outthink.strategy.once import Once
from outthink.strategy.sample import Sample
from outthink.strategy.short import Short
from outthink.strategy.vote import Vote
from outthink.strategy.weighted_vote import WeightedVote
from outthink.testing.enumerate import enumerate_runs
from outthink.text import final_answer
from outthink.verify.exact import Exact
from outthink.verify.likelihood import Likelihood

VOCAB, LONGEST = 3, 2
LOGITS = hashed(VOCAB, scale=1.5, seed=7)
PROBLEM = Problem("ab", secret=Secret(reference="a"))
SAMPLING = Sampling(temperature=0.9, max_tokens=LONGEST)


class Text:
    """One text a single sample can be: its tokens, probability at the sampling temperature, and
    log-probability."""

    def __init__(self, tokens: tuple[int, ...], probability: float, logps: tuple[float, ...]) -> None:
        self.text = "".join(".abcdefgh"[t] for t in tokens if t)
        self.tokens, self.probability, self.logps = len(tokens), probability, logps
        self.final = self.text or None


def softmax(row: Iterable[float], temperature: float) -> list[float]:
    weights = [math.exp(x / temperature) for x in row]
    return [w / sum(weights) for w in weights]


def texts(temperature: float = 0.9) -> list[Text]:
    """All texts of one sample, by recursion on the model's definition alone."""
    found: list[Text] = []

    def grow(prefix: tuple[int, ...], p: float, logps: tuple[float, ...]) -> None:
        row = LOGITS((1, 2, *prefix))
        for token, (q, one) in enumerate(zip(softmax(row, temperature), softmax(row, 1.0), strict=True)):
            entry = (*prefix, token), p * q, (*logps, math.log(one))
            if token == 0 or len(entry[0]) == LONGEST:
                found.append(Text(*entry))
            else:
                grow(*entry)

    grow((), 1.0, ())
    return found


@pytest.fixture(autouse=True)
def finals_are_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy has too few characters for `A: ...`: its whole text is the final answer, the empty one is
    none."""

    def whole(text: str) -> Any:
        return type(final_answer(""))(text or None, "the whole text")

    monkeypatch.setattr("outthink.strategy.once.final_answer", whole)
    monkeypatch.setattr("outthink.engine.request.final_answer", whole)


def expected(n: int, pick: Callable[[tuple[Text, ...]], str]) -> dict[str, float]:
    """The distribution of pick(samples) over n independent samples."""
    out: dict[str, float] = {}
    for samples in itertools.product(texts(), repeat=n):
        key = pick(samples)
        out[key] = out.get(key, 0.0) + math.prod(s.probability for s in samples)
    return out


def close(a: dict[str, float], b: dict[str, float]) -> bool:
    return all(math.isclose(a.get(k, 0.0), b.get(k, 0.0), abs_tol=1e-9) for k in {*a, *b})


def run(strategy: Any, max_batch: int = 64) -> dict[str, float]:
    request = Request(strategy, PROBLEM, sampling=SAMPLING)
    return enumerate_runs(
        lambda: toy(LOGITS, VOCAB, context=16), request, lambda a: a.text, max_batch=max_batch
    )


def majority(samples: Iterable[Text], weight: Callable[[Text], float] = lambda s: 1.0) -> str:
    """The heaviest text, ties to the first; the empty text has no vote and wins only when alone."""
    totals: dict[str, float] = {}
    samples = list(samples)
    for s in samples:
        if s.final is not None:
            totals[s.text] = totals.get(s.text, 0.0) + weight(s)
    return max(totals, key=lambda k: totals[k]) if totals else samples[0].text


def by_likelihood(samples: tuple[Text, ...]) -> str:
    return max(samples, key=lambda s: sum(s.logps) / len(s.logps)).text


def by_probability(samples: tuple[Text, ...]) -> str:
    return majority(samples, lambda s: math.exp(sum(s.logps) / len(s.logps)))


def adaptively(samples: tuple[Text, ...]) -> str:
    """Waves of one: decide after each sample."""
    for k in range(1, len(samples) + 1):
        counts = sorted(
            sum(t.text == s for t in samples[:k]) for s in {t.text for t in samples[:k] if t.final}
        )
        first, second = (counts[-1] if counts else 0), (counts[-2] if len(counts) > 1 else 0)
        if counts and (first > second + len(samples) - k or lead_is_safe(first, second) >= 0.8):
            return majority(samples[:k])
    return majority(samples)


CASES: list[tuple[Any, dict[str, float]]] = [
    (Once(), expected(1, lambda s: s[0].text)),
    (Sample(temperature=0.9), expected(1, lambda s: s[0].text)),
    (Vote(n=3), expected(3, majority)),
    (BestOfN(Likelihood(), n=3), expected(3, by_likelihood)),
    (BestOfN(Exact(), n=2), expected(2, lambda s: max(s, key=lambda t: t.text == "a").text)),
    (WeightedVote(Likelihood(), n=3, weight="exp"), expected(3, by_probability)),
    (Short(m=1, k=3), expected(3, lambda s: min(s, key=lambda t: t.tokens).text)),
    (Short(m=2, k=3), expected(3, lambda s: majority(sorted(s, key=lambda t: t.tokens)[:2]))),
    (AdaptiveVote(n=3, wave=1, confidence=0.8), expected(3, adaptively)),
    (BestOfN(Exact(), n=2, inner=Vote(n=1)), expected(2, lambda s: max(s, key=lambda t: t.text == "a").text)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("strategy", "truth"), CASES, ids=lambda v: repr(v)[:40] if not isinstance(v, dict) else ""
)
@pytest.mark.parametrize("max_batch", [64, 1])
def test_distribution(strategy: Any, truth: dict[str, float], max_batch: int) -> None:
    found = run(strategy, max_batch)
    assert math.isclose(sum(found.values()), 1.0, abs_tol=1e-9)
    assert close(found, truth), {k: (found.get(k), truth.get(k)) for k in {*found, *truth}}


def test_greedy_takes_the_likeliest_token() -> None:
    prefix: tuple[int, ...] = (1, 2)
    while len(prefix) < 2 + LONGEST and (len(prefix) == 2 or prefix[-1] != 0):
        row = LOGITS(prefix)
        prefix = (*prefix, max(range(VOCAB), key=lambda v: row[v]))
    assert run(Greedy()) == {"".join(".ab"[t] for t in prefix[2:] if t): 1.0}


def test_a_wrong_rule_is_caught() -> None:
    """The same comparison fails for a vote that an empty answer can win, and for a race won by the
    longest."""

    def careless(samples: tuple[Text, ...]) -> str:
        names = [s.text for s in samples]
        return max(names, key=names.count)

    assert not close(run(Vote(n=3)), expected(3, careless))
    assert not close(run(Short(m=1, k=2)), expected(2, lambda s: max(s, key=lambda t: t.tokens).text))
