"""RPC: answers weighed by the model's probability of the paths to them, unlikely paths pruned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.samples import Choice, Sampled
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._mixture import likely
from outthink.strategy._select import (
    is_blank,
    logprobs_of,
    need_positive,
    poll,
    poll_among,
    sample_and_select,
)
from outthink.strategy.once import Once

FEWEST = 4  # paths that a mixture can be fitted to


def distinct(samples: Sequence[Sampled]) -> list[bool]:
    """Whether each sample is the first with its text; with its answer and log-probability, if it has none."""
    seen: set[object] = set()
    found = []
    for s in samples:
        key: object = s.text or (s.final, s.logprob)
        found.append(key not in seen)
        seen.add(key)
    return found


def prune(probabilities: Sequence[float]) -> list[bool]:
    """Which paths stay: those that likely belong to the higher component, and those above the mean."""
    mean = math.fsum(probabilities) / len(probabilities)
    if len(probabilities) < FEWEST or min(probabilities) == max(probabilities):
        return [p >= mean for p in probabilities]
    return [p >= mean or h >= 0.5 for p, h in zip(probabilities, likely(probabilities), strict=True)]


@dataclass(frozen=True)
class PerplexityConsistency:
    """Sample n answers; the class whose distinct paths the model finds likeliest in sum wins.

    answer = argmax over classes c of sum over distinct paths t in c of p(t). With `pruned`, the probabilities
    are first fitted by a mixture of two Weibull distributions; paths that likely belong to the lower one and
    lie below the mean are dropped. p is the probability of the path (`per="text"`) or its geometric mean a
    token (`per="token"`, for long texts, where one path would outweigh all others). Ties go to the class
    that appeared first. Raises BadInput where log-probabilities are missing. Zhou et al., "Bridging Internal
    Probability and Self-Consistency for Effective and Efficient LLM Reasoning".
    """

    n: int = 8
    pruned: bool = True
    per: str = "text"
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE | Can.LOGPROBS
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        need_positive(self.n)
        if self.per not in ("token", "text"):
            raise ValueError(f"per={self.per!r}: give 'token' or 'text'")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        places = [i for i, s in enumerate(samples) if not is_blank(s)]
        if not places:
            return poll(samples)
        paths = [samples[i] for i in places]
        logps = logprobs_of(paths, self.per)
        top = max(logps)
        p = [max(math.exp(v - top), 1e-300) for v in logps]  # in units of the likeliest: all else is scale
        stays = prune(p) if self.pruned else [True] * len(p)
        kept = [a and b for a, b in zip(stays, distinct(paths), strict=True)]
        return poll_among(samples, places, [v if keep else 0.0 for v, keep in zip(p, kept, strict=True)])

    async def __call__(self, root: Branch, /) -> Answer:
        return await sample_and_select(root, [self.inner] * self.n, self.select)
