"""A drafting model among the choices of `auto`: whether it runs before a pass, for whom, and how far.

before a pass of b branches on r rows, by the measured v(rows) of the model and w(rows) of the drafting model
    gain(d) = (1 + a + ... + a^d) p(r) / (v(r + r d) + d w(r) + b over)         tokens a second over plain
    below MARGIN at a = LIKELY for every d <= n it sleeps, and costs nothing
    size = argmax of gain(d) at a = the measured rate of acceptance
after every step that it drafted for
    over = what its drafts took beyond w, a branch      tasks, reading what was written without it
    judged by _worth.py like drafters that look up, with a verdict of its own
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from outthink.core.draft import Draft
from outthink.core.drafting import Drafter, Source, Studio, Tip
from outthink.core.errors import BadInput
from outthink.speculate._guard import Guard
from outthink.speculate._worth import ALONE, FORGET, Crowd, Times, Worth, best

LIKELY = 0.9  # how often a token of a drafting model is right, as long as little was seen
OVER = 1e-4  # seconds around a draft, as long as none was measured
WEIGHT = 2.0  # how many tokens LIKELY is worth
REMEMBER = 0.95  # the weight of the past after one more draft
SLOW = 4.0  # times what was expected: what one draft is believed to have taken


class Thinker(Protocol):
    """A source that drafts with another model, alone."""

    name: str

    @property
    def n(self) -> int:
        """The most tokens of a draft."""
        ...

    @property
    def place(self) -> str:
        """What the other model is called in the engine."""
        ...

    async def think(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """The other model's own next tokens."""
        ...


class Pace:
    """What outlives a request: no texts in it."""

    def __init__(self) -> None:
        self.worth = Worth()
        self.over = OVER


class Model:
    """One drafting model, for one request."""

    def __init__(self, source: Thinker, studio: Studio) -> None:
        self.source, self.studio = source, studio
        self.pace: Pace = studio.pace.setdefault("model", Pace())
        self.worth = self.pace.worth
        self.crowd = ALONE
        self.size = 0  # of a draft before the pass to come; 0: none
        self.hits = self.tries = 0.0  # of its tokens; the last ones above all
        self.gain = 0.0  # tokens a second with such drafts over plain
        self.running = 0  # drafts under way
        self.round = 0  # drafts that were begun since none was under way
        self.began = self.took = 0.0  # seconds: when the first of them was begun, what each of them took

    def wakes(self, crowd: Crowd) -> None:
        """Decide for the pass after one of such a crowd, at the measured rate of acceptance."""
        self.gain, self.size, self.crowd = 0.0, 0, crowd
        if self.worth.wakes(crowd, self.studio, self._hope):
            rate = (self.hits + WEIGHT * LIKELY) / (self.tries + WEIGHT)
            self.gain, self.size = self._best(self.studio, crowd, rate)

    @property
    def may_wake(self) -> bool:
        """Whether it may run one day, be it where fewer write."""
        return self.worth.may_wake(self.studio, self._hope)

    def _hope(self, times: Times, crowd: Crowd, ask: float) -> float:
        return self._best(times, crowd, LIKELY)[0]

    def _best(self, times: Times, crowd: Crowd, right: float) -> tuple[float, int]:
        token = self.studio.plain(crowd.rows, self.source.place)
        return best(times, crowd, self.pace.over, right, self.source.n, token)

    def fared(self, hits: int, tokens: int) -> None:
        """Of so many tokens that were looked at, so many were right: the one after them, if any, was not."""
        self.hits = REMEMBER * self.hits + hits
        self.tries = REMEMBER * self.tries + min(hits + 1, tokens)

    async def draft(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """What it drafts; `took` is the share of each of the branches that it drafts for at a time."""
        if not self.running:
            self.began, self.round = self.studio.clock(), 0
        self.running += 1
        self.round += 1
        try:
            return await self.source.think(tip, min(self.size, depth), nodes)
        finally:
            self.running -= 1
            if not self.running:
                rows = max(1, self.round * self.crowd.rows // self.crowd.branches)  # they share there, too
                known = self.size * self.studio.plain(rows, self.source.place) / self.round
                most = SLOW * (known + self.pace.over)  # the very first touches its memory: that says nothing
                self.took = min((self.studio.clock() - self.began) / self.round, most)
                self.pace.over = FORGET * self.pace.over + (1 - FORGET) * max(0.0, self.took - known)


def parted(drafters: Sequence[Drafter], studio: Studio) -> tuple[list[Callable[[], Source]], Model | None]:
    """How to open those that look up, and the one that is a model. Raises BadInput for others.

    An engine's first request opens all of them, to see what they are; later ones open who is asked.
    """
    is_model: list[bool] | None = studio.pace.get("is_model")
    if is_model is None:
        sources = [_guarded(drafter, studio) for drafter in drafters]
        is_model = studio.pace["is_model"] = _kinds(sources)
        openers: list[Callable[[], Source]] = [partial(_same, source) for source in sources]
    else:
        openers = [partial(_guarded, drafter, studio) for drafter in drafters]
    lookups = [opener for opener, is_one in zip(openers, is_model, strict=True) if not is_one]
    models = [opener() for opener, is_one in zip(openers, is_model, strict=True) if is_one]
    return lookups, Model(models[0], studio) if models else None  # type: ignore[arg-type]


def _guarded(drafter: Drafter, studio: Studio) -> Source:
    return Guard(drafter.open(studio), studio)


def _same(source: Source) -> Source:
    return source


def _kinds(sources: Sequence[Source]) -> list[bool]:
    """Of each source whether it is a model."""
    for source in sources:
        if hasattr(source, "sketching") or (hasattr(source, "think") and not hasattr(source, "place")):
            raise BadInput(
                f"auto: {source.name} cannot be one of its sources: give those that look up, or draft_model"
            )
    found = [hasattr(source, "think") for source in sources]
    if sum(found) > 1:
        raise BadInput("auto: give one drafting model at most")
    return found
