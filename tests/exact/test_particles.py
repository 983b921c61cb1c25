"""Sequential Monte Carlo on a model that can be enumerated: every random outcome with its probability."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outthink.backends.toy import hashed, toy
from outthink.core.rng import digest
from outthink.core.types import Candidate, Sampling, Score
from outthink.engine.request import Request
from outthink.strategy import Particles
from outthink.testing.enumerate import enumerate_runs

VOCAB, LONGEST = 3, 2
LOGITS = hashed(VOCAB, scale=1.5, seed=7)
SAMPLING = Sampling(temperature=0.9, max_tokens=LONGEST)


def reward(text: str) -> float:
    """Some potential: from 0.05 to 1, another for every text."""
    return 0.05 + 0.95 * (digest("reward", text) / 2**64)


@dataclass(frozen=True)
class Rewards:
    """A verifier that knows the text only."""

    function: Callable[[str], float] = reward
    records = ()

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        return [Score(self.function(c.text)) for c in candidates]


def softmax(row: Sequence[float], temperature: float = 0.9) -> list[float]:
    weights = [math.exp(x / temperature) for x in row]
    return [w / sum(weights) for w in weights]


def texts(longest: int = LONGEST) -> dict[str, float]:
    """The probability of every text, by recursion on the model's definition alone."""
    found: dict[str, float] = {}

    def grow(prefix: tuple[int, ...], p: float) -> None:
        for token, q in enumerate(softmax(LOGITS((1, 2, *prefix)))):
            entry = (*prefix, token)
            if token == 0 or len(entry) == longest:
                text = "".join(".ab"[t] for t in entry if t)
                found[text] = found.get(text, 0.0) + p * q
            else:
                grow(entry, p * q)

    grow((), 1.0)
    return found


def target(function: Callable[[str], float] = reward) -> dict[str, float]:
    """p(x) psi(x), not normalised."""
    return {text: p * function(text) for text, p in texts().items()}


def weighted(strategy: Any, max_batch: int = 64) -> dict[str, float]:
    """E[Z^ 1[answer is x]]: over a proper population, exactly p(x) psi(x)."""
    request = Request(strategy, "ab", sampling=SAMPLING)
    runs = enumerate_runs(
        lambda: toy(LOGITS, VOCAB, context=16), request, lambda a: (a.text, a.estimates["log_z"]), 400_000, max_batch
    )
    assert math.isclose(sum(runs.values()), 1.0, abs_tol=1e-9)
    found: dict[str, float] = {}
    for (text, log_z), p in runs.items():
        found[text] = found.get(text, 0.0) + p * math.exp(log_z)
    return found


def same(found: dict[str, float], truth: dict[str, float]) -> bool:
    return all(math.isclose(found.get(k, 0.0), truth.get(k, 0.0), abs_tol=1e-9) for k in {*found, *truth})


def per_token(**fields: Any) -> Particles:
    return Particles(Rewards(), n=2, **{"step": "", "tokens": 1, "pick": "draw", "threshold": 1.0, **fields})


CASES = [
    per_token(),
    per_token(threshold=0.9),
    per_token(resampling="stratified"),
    per_token(resampling="multinomial"),
    per_token(resampling="residual"),
    per_token(resampling="optimal", expand=2),
    per_token(expand=2),
    per_token(moves=1),
]


@pytest.mark.parametrize("strategy", CASES, ids=repr)
def test_the_estimate_of_every_texts_weight_is_unbiased(strategy: Particles) -> None:
    found = weighted(strategy)
    assert same(found, target()), (found, target())
