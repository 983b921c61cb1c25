"""What a selector would have made of k of the recorded samples: unbiased, over draws without replacement.

Exact where that can be counted: closed forms for coverage, votes and the best by score; every subset (for a
stopping rule: every order) where there are few. Else the mean of seeded draws, with its standard error.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from outthink import stats
from outthink.bench.replay.reading import Recorded
from outthink.core.errors import BadInput, Misuse
from outthink.core.rng import digest
from outthink.core.samples import Choice, Sampled, Selector
from outthink.core.types import Candidate, Score
from outthink.strategy import BestOfN, Once, Vote
from outthink.text import classes

DRAWS = 200  # subsets of a problem's samples, where they are too many to go through


class Value(NamedTuple):
    """One problem: how often the answer is right, the standard error of that, and what it takes."""

    right: float
    error: float
    used: float  # samples
    written: float | None  # tokens, where they were counted


@dataclass(frozen=True)
class Replay:
    """A selector with the problems prepared for it: scores of its verifier, answers as names of classes."""

    name: str
    selector: Any  # None: any right sample is found (coverage)
    problems: tuple[Recorded, ...]

    def at(self, place: int, k: int, draws: int = DRAWS, seed: int = 0) -> Value:
        """What it makes of k samples of one problem."""
        own = self.problems[place]
        tokens = [s.tokens for s in own.samples]
        mean = k * sum(tokens) / len(tokens) if min(tokens) > 0 else None
        exact = self._closed_form(own, k)
        if exact is not None:
            return Value(exact, 0.0, k, mean)
        found = [self._one(own, drawn) for drawn in self._draws(own, k, draws, seed)]
        rights = [value.right for value in found]
        middle = math.fsum(rights) / len(found)
        is_all = self._subsets(own, k) <= draws
        spread = math.fsum((r - middle) ** 2 for r in rights) / max(len(found) - 1, 1) / len(found)
        written = [value.written for value in found if value.written is not None]
        return Value(
            middle,
            0.0 if is_all else math.sqrt(spread),
            math.fsum(value.used for value in found) / len(found),
            math.fsum(written) / len(written) if written else None,
        )

    def _closed_form(self, own: Recorded, k: int) -> float | None:
        """The exact value where a formula gives it."""
        if self.selector is None:
            return stats.pass_at_k(len(own.right), sum(own.right), k)
        if isinstance(self.selector, BestOfN):
            return stats.best_at_k([_score(s) for s in own.samples], own.right, k)
        if isinstance(self.selector, Vote):
            labels = classes([s.final for s in own.samples])
            named = next((x for x, right in zip(labels, own.right, strict=True) if right), None)
            agree = all(
                right == (x == named and x is not None) for x, right in zip(labels, own.right, strict=True)
            )
            if agree:  # else classes and verdicts differ, and only going through subsets is exact
                found = stats.maj_at_k(labels, named, k, draws=2)
                return found.value if found.error == 0 else None
        return None

    def _subsets(self, own: Recorded, k: int) -> int:
        """How many different draws there are; a stopping rule sees each order as another."""
        count = math.perm if self.is_sequential else math.comb
        return count(len(own.samples), k)

    @property
    def is_sequential(self) -> bool:
        """Whether the order of the samples matters."""
        return bool(getattr(self.selector, "is_sequential", False))

    def _draws(self, own: Recorded, k: int, draws: int, seed: int) -> Iterator[tuple[int, ...]]:
        """All draws of k samples, or so many random ones: the same for every selector."""
        n = len(own.samples)
        if self._subsets(own, k) <= draws:
            yield from (itertools.permutations if self.is_sequential else itertools.combinations)(range(n), k)
            return
        chance = random.Random(digest(seed, own.id, k))
        for _ in range(draws):
            yield tuple(chance.sample(range(n), k))

    def _one(self, own: Recorded, drawn: tuple[int, ...]) -> Value:
        """One draw. Where several systems were recorded, those of the first come first."""
        ranks = {name: i for i, name in enumerate(dict.fromkeys(s.system for s in own.samples))}
        order = sorted(drawn, key=lambda i: ranks[own.samples[i].system])
        samples = [own.samples[i] for i in order]
        choice = self.selector.select(samples)
        used = len(samples) if choice.used is None else choice.used
        counted = all(s.tokens > 0 for s in samples)
        spent = sum(s.tokens for s in samples[:used]) if counted else None
        written = spent if choice.written is None else choice.written
        return Value(credit(choice, [own.right[i] for i in order]), 0.0, used, written)


def _majority(own: Recorded, k: int) -> float | None:
    """maj@k, where the right samples are one class of answers and the count is not too much work."""
    labels = classes([s.final for s in own.samples])
    named = {x for x, is_right in zip(labels, own.right, strict=True) if is_right}
    right = next(iter(named), None)
    if len(named) > 1 or [x == right and x is not None for x in labels] != list(own.right):
        return None
    return stats.exact_maj_at_k(labels, right, k)


def credit(choice: Choice, right: Sequence[bool]) -> float:
    """How likely a right sample is among the picks; the last places go by lot to those level for them."""
    sure = [i for i in choice.picks if i not in choice.level]
    if any(right[i] for i in sure):
        return 1.0
    room, good = len(choice.picks) - len(sure), sum(right[i] for i in choice.level)
    return stats.pass_at_k(len(choice.level), good, room) if room else 0.0


def prepare(name: str, selector: Any, problems: Sequence[Recorded], path: str) -> Replay:
    """Score the samples with the selector's own verifier, and see that they have what it needs.

    BadInput names the file, the line and what is missing.
    """
    if selector is not None and not isinstance(selector, Selector):
        raise BadInput(
            f"{name} needs a model; what chooses among recorded samples has a `select`, such as vote"
        )
    if getattr(selector, "inner", Once()) != Once():
        raise BadInput(f"{name}: recorded samples take the place of inner=; leave it out")
    found = []
    for own in problems:
        scored = _scored(name, selector, own, path)
        labels = classes([s.final for s in scored])
        named = [replace(s, final=None if x is None else str(x)) for s, x in zip(scored, labels, strict=True)]
        for sample, line in zip(named, own.lines, strict=True):
            _try(name, selector, sample, f"{path!r} line {line}")
        found.append(replace(own, samples=tuple(named)))
    return Replay(name, selector, tuple(found))


def _try(name: str, selector: Any, sample: Sampled, where: str) -> None:
    """Have the selector choose the one sample, so that what it lacks is said with its line."""
    if selector is None:
        return
    try:
        selector.select([sample])
    except BadInput as error:
        raise BadInput(f"{where}: {error}, which {name} needs") from None


def _scored(name: str, selector: Any, own: Recorded, path: str) -> list[Sampled]:
    """The samples with the scores that the selector's verifier gives them."""
    verifier = getattr(selector, "verifier", None)
    if verifier is None:
        return list(own.samples)
    found = []
    for sample, line in zip(own.samples, own.lines, strict=True):
        try:
            [score] = judge_recorded(verifier, [(sample, own)])
        except BadInput as error:
            raise BadInput(f"{path!r} line {line}: {error}; {name} asks for it") from None
        found.append(replace(sample, score=score.value))
    return found


def judge_recorded(verifier: Any, given: Sequence[tuple[Sampled, Recorded]]) -> list[Score]:
    """What a verifier says without a model. BadInput if it needs one."""
    candidates = [Candidate(s.text, own.problem, s.final, sampled=s) for s, own in given]
    call = verifier(candidates)
    try:
        call.send(None)
    except StopIteration as done:
        scores: list[Score] = done.value
        return scores
    except Misuse:
        pass
    finally:
        call.close()
    raise BadInput(f"{verifier!r} needs a model; record its scores, and give recorded() in its place")


def _score(sample: Sampled) -> float:
    assert sample.score is not None  # prepare() saw to it
    return sample.score
