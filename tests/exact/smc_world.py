"""A toy world with a potential on every text, and its exact posterior by recursion."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from outthink.backends.toy import ALPHABET, hashed, scripted, toy
from outthink.core.rng import digest
from outthink.core.types import Answer, Candidate, Sampling, Score
from outthink.engine.request import Request
from outthink.testing.enumerate import enumerate_runs

TEMPERATURE = 0.9


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


@dataclass(frozen=True)
class World:
    """Texts of at most `longest` tokens over `vocab` tokens, of which token 0 ends the text."""

    vocab: int = 3
    longest: int = 2
    table: Mapping[str, Mapping[str, float]] = field(default_factory=dict, hash=False)

    def logits(self, prefix: tuple[int, ...]) -> Sequence[float]:
        made = scripted(self.table, self.vocab) if self.table else hashed(self.vocab, scale=1.5, seed=7)
        return made(prefix)

    def texts(self) -> dict[tuple[int, ...], float]:
        """The probability of every text, as its tokens, by the model's definition alone."""
        found: dict[tuple[int, ...], float] = {}

        def grow(prefix: tuple[int, ...], p: float) -> None:
            weights = [math.exp(x / TEMPERATURE) for x in self.logits((1, 1, *prefix))]
            for token, weight in enumerate(weights):
                if not weight:
                    continue
                entry = (*prefix, token)
                ends = token == 0 or len(entry) == self.longest
                if ends:
                    found[entry] = p * weight / sum(weights)
                else:
                    grow(entry, p * weight / sum(weights))

        grow((), 1.0)
        return found

    def target(self, function: Callable[[str], float] = reward) -> dict[str, float]:
        """p(x) psi(x) of every text, not normalised."""
        found: dict[str, float] = {}
        for tokens, p in self.texts().items():
            found[written(tokens)] = found.get(written(tokens), 0.0) + p * function(written(tokens))
        return found

    def runs(
        self, strategy: Any, outcome: Callable[[Answer], Hashable], max_batch: int = 64
    ) -> dict[Hashable, float]:
        """The exact distribution of an outcome."""
        sampling = Sampling(temperature=TEMPERATURE, max_tokens=self.longest)
        request = Request(strategy, "aa", sampling=sampling)
        found = enumerate_runs(
            lambda: toy(self.logits, self.vocab, context=16), request, outcome, max_batch=max_batch
        )
        assert math.isclose(sum(found.values()), 1.0, abs_tol=1e-9)
        return found

    def weighted(self, strategy: Any, max_batch: int = 64) -> dict[str, float]:
        """E[Z^ 1[the answer is x]]: of a proper population exactly p(x) psi(x)."""
        found: dict[str, float] = {}
        for (text, log_z), p in self.runs(
            strategy, lambda a: (a.text, a.estimates["log_z"]), max_batch
        ).items():  # type: ignore[misc]
            found[text] = found.get(text, 0.0) + p * math.exp(log_z)
        return found


def written(tokens: Sequence[int]) -> str:
    return "".join(ALPHABET[t] for t in tokens if t)


def same(found: dict[str, float], truth: dict[str, float]) -> bool:
    return all(math.isclose(found.get(k, 0.0), truth.get(k, 0.0), abs_tol=1e-9) for k in {*found, *truth})
