"""Sampled solutions and the choice among them: what selection needs, whether a model wrote them or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Sampled:
    """One sampled solution as a selector sees it. Log-probabilities are natural, before any warp."""

    final: str | None  # the short answer, None where there is none
    text: str = ""
    tokens: int = 0  # written; 0 where nobody counted
    logprob: float | None = None  # of all that was written
    score: float | None = None  # what the selector's own verifier says
    scores: Mapping[str, float] = field(default_factory=dict)  # recorded, by name
    stats: Mapping[str, Sequence[float]] = field(default_factory=dict)  # one value a written token
    system: str = ""  # the model that wrote it, where there are several
    place: int = 0  # which of its problem's recorded samples it is: keys what chance it needs


@dataclass(frozen=True, slots=True)
class Choice:
    """What a selector chose among samples, by their places.

    `picks` are submitted, the answer first: ties go to the earlier sample. `level` are the samples that were
    exactly as good as the last pick, it included: whoever estimates an accuracy shares the credit among them,
    so that the order of the samples is worth nothing.
    """

    picks: tuple[int, ...]
    level: tuple[int, ...]
    score: float  # how sure: the share of all weight, or the score that won
    weights: tuple[float, ...] = ()  # what each sample counted for; empty where nothing was weighed
    used: int | None = None  # samples drawn before the rule stopped; None: all
    written: int | None = None  # tokens written by then; None: those of the samples used


@runtime_checkable
class Selector(Protocol):
    """A part that chooses among samples without a model: live, at the end of a strategy, and under replay.

    Called with samples in the order in which they were drawn, at least one. Pure. A rule that stops early, or
    is otherwise swayed by the order, says so with a class attribute `is_sequential = True`. Raises
    BadInput where the samples lack what it needs (a log-probability, a score, a statistic).
    """

    def select(self, samples: Sequence[Sampled], /) -> Choice: ...
