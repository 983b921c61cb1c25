"""What selectors share: votes of classes, and the way from answers to samples and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.judging import judge
from outthink.core.protocols import Strategy, Verifier
from outthink.core.samples import Choice, Sampled
from outthink.core.tasks import current, gather
from outthink.core.types import Answer
from outthink.text import classes

Select = Callable[[Sequence[Sampled]], Choice]


def members(samples: Sequence[Sampled]) -> list[list[int]]:
    """The places of the samples of each class of equivalent final answers, in the order of first appearance.

    Samples without a final answer are in no class.
    """
    found: dict[int, list[int]] = {}
    for i, label in enumerate(classes([s.final for s in samples])):
        if label is not None:
            found.setdefault(label, []).append(i)
    return list(found.values())


def poll(samples: Sequence[Sampled], weights: Sequence[float] | None = None) -> Choice:
    """The class of equivalent final answers with the largest sum of weights; its first member is the answer.

    Sums are exact but for one rounding, so that the order of the samples cannot change them. A class of
    weight zero may win where there is no other; without any class, the first sample is the answer. Beside an
    infinite weight a finite one is nothing, and infinite ones count alike.
    """
    given = tuple([1.0] * len(samples) if weights is None else weights)
    if math.inf in given:
        given = tuple(float(w == math.inf) for w in given)
    groups = members(samples)
    if not groups:
        return Choice((0,), (0,), 0.0, given)
    totals = [math.fsum(given[i] for i in group) for group in groups]
    top, everything = max(totals), math.fsum(given)
    level = tuple(group[0] for group, total in zip(groups, totals, strict=True) if total == top)
    return Choice(level[:1], level, top / everything if everything else 0.0, given)


def poll_among(
    samples: Sequence[Sampled], places: Sequence[int], weights: Sequence[float] | None = None
) -> Choice:
    """A vote of the samples at these places only; `weights` are theirs."""
    found = poll([samples[i] for i in places], weights)
    spread = dict(zip(places, found.weights, strict=True))
    picks, level = (tuple(places[i] for i in chosen) for chosen in (found.picks, found.level))
    return Choice(picks, level, found.score, tuple(spread.get(i, 0.0) for i in range(len(samples))))


def best(values: Sequence[float]) -> Choice:
    """The place of the largest value."""
    top = max(values)
    level = tuple(i for i, value in enumerate(values) if value == top)
    return Choice(level[:1], level, top, tuple(values))


def scores_of(samples: Sequence[Sampled]) -> list[float]:
    """The score of each sample; BadInput if one has none."""
    found = [s.score for s in samples if s.score is not None]
    if len(found) < len(samples):
        raise BadInput("a sample has no 'score'")
    return found


def logprobs_of(samples: Sequence[Sampled], per: str = "text") -> list[float]:
    """The log-probability of each sample, or its mean a token with per="token"; BadInput if one has none."""
    found = [s.logprob for s in samples if s.logprob is not None]
    if len(found) < len(samples):
        raise BadInput("a sample has no 'logprob'")
    if per == "text":
        return found
    return [value / count for value, count in zip(found, tokens_of(samples), strict=True)]


def is_blank(sample: Sampled) -> bool:
    """Whether nothing is left of a text: it began with a stop, which is cut off."""
    return not sample.text and sample.final is None and sample.logprob == 0.0


def tokens_of(samples: Sequence[Sampled]) -> list[int]:
    """How many tokens each sample has; BadInput where nobody counted."""
    found = [s.tokens for s in samples if s.tokens > 0]
    if len(found) < len(samples):
        raise BadInput("a sample has no 'tokens'")
    return found


def sampled(answer: Answer) -> Sampled:
    """An answer as a selector sees it."""
    system = answer.branch.place.name if answer.branch is not None else ""
    return Sampled(
        answer.final,
        answer.text,
        answer.tokens,
        answer.logprob,
        answer.score,
        stats=answer.stats,
        system=system,
    )


def settle(answers: Sequence[Answer], select: Select, samples: Sequence[Sampled] | None = None) -> Answer:
    """The answer that a selector picks, with its score; the others behind it, further picks first. `samples`
    are the answers as it sees them, where the caller has them."""
    choice = select([sampled(a) for a in answers] if samples is None else samples)
    rest = [i for i in range(len(answers)) if i not in choice.picks]
    others = tuple(answers[i] for i in (*choice.picks[1:], *rest))
    return replace(answers[choice.picks[0]], score=choice.score, others=others)


async def sample_and_select(
    root: Branch, inners: Sequence[Strategy], select: Select, verifier: Verifier | None = None
) -> Answer:
    """One answer of each inner strategy, all at once; the selector's choice among those that have ended is
    always on offer.

    With a verifier, all are judged in one call when the last one has ended, and until then their vote is on
    offer. Where a budget may end the run before, each is judged as it ends, so that what stands was judged:
    scores do not depend on the batch, and so neither does the answer.
    """
    ended: dict[int, Answer] = {}
    seen: dict[int, Sampled] = {}  # there is an offer after every sample: each is looked at once
    if verifier is not None:
        root.record(*verifier.records)
    waits = verifier is not None and not any(scope.caps for scope in current().scope.chain())

    async def one(i: int, branch: Branch) -> Answer:
        answer = await inners[i](branch)
        [ended[i]] = [answer] if waits else await scored([answer], verifier, [branch])
        seen[i] = sampled(ended[i])
        order = sorted(ended)
        offer = settle([ended[k] for k in order], poll if waits else select, [seen[k] for k in order])
        root.offer(offer, rank=len(ended))
        return ended[i]

    branches = root.fork(len(inners))
    answers = await gather(*(one(i, branch) for i, branch in enumerate(branches)))
    return settle(await scored(answers, verifier, branches) if waits else answers, select)


async def scored(
    answers: Sequence[Answer], verifier: Verifier | None, branches: Sequence[Branch]
) -> list[Answer]:
    """Answers with the verifier's scores, if there is one, in one call; each was given on its branch."""
    if verifier is None:
        return list(answers)
    scores = await judge(verifier, [b.candidate(a) for b, a in zip(branches, answers, strict=True)])
    return [replace(answer, score=score.value) for answer, score in zip(answers, scores, strict=True)]


async def drafts(root: Branch, inner: Strategy, n: int, rank: float = -1.0) -> list[Answer]:
    """n answers of one inner strategy, all at once, for something to be made of them.

    Until that is done the vote of those that have ended is on offer, below every offer of a `rank` above.
    """
    ended: dict[int, Answer] = {}

    async def one(i: int, branch: Branch) -> Answer:
        ended[i] = await inner(branch)
        root.offer(settle([ended[k] for k in sorted(ended)], poll), rank=rank - n + len(ended))
        return ended[i]

    return list(await gather(*(one(i, branch) for i, branch in enumerate(root.fork(n)))))


def need_positive(n: int) -> None:
    """ValueError for a number of samples below one."""
    if n < 1:
        raise ValueError(f"n={n}: give at least 1")
