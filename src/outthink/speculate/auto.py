"""Whichever drafter pays at this branch and step, at the size that pays, or none."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

from outthink.core.draft import Draft, flaw, path_probabilities
from outthink.core.drafting import Drafter, Outcome, Source, Studio, Tip
from outthink.spec import show
from outthink.speculate._lookups import Given, Lookups
from outthink.speculate._model import LIKELY, Model, parted
from outthink.speculate._worth import ALONE, SHARE, Crowd, Times, Worth, hope
from outthink.speculate.consensus import Consensus
from outthink.speculate.copy import Copy
from outthink.speculate.stand import Stand

PATIENCE = 2  # fruitless steps of a branch before it is left alone for a while
LONGEST_REST = 16  # steps
UNHEARD = 16  # texts that ended while nobody was asked, kept for when somebody is


@dataclass(frozen=True)
class Auto:
    """Ask cheap drafters, trust each as far as its record goes, and check only the nodes that pay.

        where drafts cannot win by the measured v(rows), nobody is asked, nobody is told (_worth.py); else
        at each step of each branch: the drafts of all sources that are cheap beside the step, as one tree,
            where a node's probability is the measured acceptance of its source at its word (_lookups.py);
            a drafting model, given as `model` or among the sources, runs where it promises more tokens
            a second than that tree, at the size that does so, and sleeps where it cannot win (_model.py);
        over the batch: the nodes with the most expected tokens per measured second (engine/choice.py)

    What is learned of texts lasts for one request, if the engine is not warm, and starts from the sources'
    own word; whether drafting pays is remembered by the engine. A branch whose drafts fail is asked so
    seldom that asking takes 1 % of its time, and all are left alone where drafting has cost more than it
    saved. What passes take changes the cost, never the text.
    """

    sources: tuple[Drafter, ...] = (Copy(m=1), Consensus(), Stand(n=8))
    model: Drafter | None = None  # a drafting model beside them, such as draft_model(n=8)
    is_choosy = True
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if isinstance(self.model, str):
            raise ValueError(
                f"model={self.model!r}: give a drafter, such as draft_model(model={self.model!r})"
            )
        if not self._all:
            raise ValueError("give at least one source")
        if any(hasattr(source, "inner") for source in self._all):
            raise ValueError("staged cannot be a source of auto: give draft_model")

    @property
    def _all(self) -> tuple[Drafter, ...]:
        return self.sources if self.model is None else (*self.sources, self.model)

    def open(self, studio: Studio) -> AutoSource:
        return AutoSource(self._all, studio)


class Fortune:
    """How a branch fares: the drafts that it was given, and how long it is left alone after bad ones."""

    __slots__ = ("given", "weighed", "misses", "rest", "asking", "was_modelled")

    def __init__(self) -> None:
        self.given: list[Given] = []  # as their sources gave them
        self.weighed: Draft | None = None  # all as one, with measured confidences
        self.misses = 0  # steps in a row without a right token
        self.rest = 0  # steps left to rest
        self.asking = 0.0  # seconds that went into the last draft
        self.was_modelled = False  # whether a model was run for it

    def fared(self, hits: int, plain: float) -> None:
        """So many tokens of a draft were right, where a plain step takes so many seconds."""
        self.misses = 0 if hits else self.misses + 1
        if self.misses > PATIENCE:
            self.rest = min(LONGEST_REST, int(self.asking / (SHARE * plain)))


class AutoSource:
    """The live half of Auto."""

    name = "auto"
    think: Callable[[Tip, int, int], Awaitable[Draft | None]]  # only where there is a drafting model

    def __init__(self, drafters: Sequence[Drafter], studio: Studio) -> None:
        self.studio, self.clock = studio, studio.clock
        looking, self.model = parted(drafters, studio)
        self.lookups = Lookups(looking, studio.pace.setdefault("costs", {}), studio.clock)
        self.worth: Worth = studio.pace.setdefault("worth", Worth())
        self.worths = [self.worth]  # whoever has a verdict
        self.fortunes: dict[Tip, Fortune] = {}  # of those that somebody was asked about
        self.unheard: deque[Tip] = deque(maxlen=UNHEARD)
        self.asks = False  # whether those that look up are asked in this pass
        self.crowd = ALONE  # in this pass
        self.thought: set[Tip] = set()  # those that a model may have drafted for before this pass
        if self.model is not None:
            self.think = self._think
            self.worths.append(self.model.worth)

    @property
    def tops(self) -> int:
        """How many of the likeliest tokens are worth hearing in this pass."""
        return self.lookups.tops if self.asks else 0

    # ---- when to sleep

    def wakes(self, branches: int, rows: int) -> bool:
        """Whether to be asked, and told, in a pass of so many branches on so many rows."""
        if self.crowd != (branches, rows):
            self.crowd = Crowd(branches, rows)
        crowd = self.crowd
        if self.model is None:
            self.asks = self._wakes(crowd)
            return self.asks
        asked = self._asked()
        self.asks = self.worth in asked and self._wakes(crowd)
        if self.model.worth in asked:
            self.model.wakes(crowd)
        return self.asks or self.model.size > 0 or bool(self.thought)

    def _wakes(self, crowd: Crowd) -> bool:
        """Whether those who look up are worth asking, and any of them is cheap."""
        if not self.worth.wakes(crowd, self.studio, self._hope):
            return False
        if not self.lookups.cheap(crowd.plain(self.studio)):
            self.worth.veto(crowd)
            return False
        return True

    def _hope(self, times: Times, crowd: Crowd, ask: float) -> float:
        """By how much they can win; anew after a while, and then who was too dear is tried again."""
        self.lookups.again()
        return hope(times, crowd, ask) if self.lookups.cheap(crowd.plain(times)) else 0.0

    @property
    def thinks(self) -> bool:
        """Whether a model is to draft for the pass to come."""
        model = self.model
        if model is None or not model.size or model.worth.resting:
            return False
        return not (self.worth.looks and self.worth.resting)

    @property
    def hopes(self) -> bool:
        """Whether it may wake one day: else nothing needs to be known for then."""
        return self.worth.may_wake(self.studio) or (self.model is not None and self.model.may_wake)

    def naps(self) -> int:
        """For how many questions more the answer is no."""
        return min(map(Worth.naps, self._asked()))

    def slept(self, count: int) -> None:
        """So many of them are not asked."""
        for worth in self._asked():
            worth.slept(count)

    def _asked(self) -> list[Worth]:
        """Whose verdict counts: where one looks what plain steps take, the others wait."""
        for worth in self.worths:
            if worth.looks and worth.resting:
                return [worth]
        return self.worths

    # ---- at a step of a branch

    async def _think(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """The model's draft, where it promises more than the best one that was looked up."""
        assert self.model is not None
        self.thought.add(tip)
        fortune, looked = self._fortune(tip), self.propose(tip, depth, nodes)
        if looked is not None and self._gain(looked) >= self.model.gain:
            return looked
        fortune.was_modelled = True
        draft = await self._modelled(self.model, tip, depth, nodes)
        if draft is None or not draft.tokens:
            return looked
        own = draft.conf or (LIKELY,) * len(draft.tokens)
        name = draft.by or self.model.source.name
        record = self.lookups.record(name)
        fortune.given = [Given(draft, own, record)]
        fortune.weighed = Draft(draft.tokens, draft.parents, tuple(record.trusted(own)), draft.dists, name)
        return fortune.weighed

    async def _modelled(self, model: Model, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """The model's draft; where it fails, what was looked up is left."""
        try:
            draft = await model.draft(tip, depth, nodes)
            wrong = "" if draft is None else flaw(draft, self.studio.vocab, nodes)
        except Exception as error:
            draft, wrong = None, f"{type(error).__name__}: {error}"
        if not wrong:
            return draft
        tip.complain(wrong, model.source.name)
        model.worth.step(1, 0, model.took, self.studio)  # it gained nothing, whatever is written now
        self._fortune(tip).was_modelled = False
        return None

    def _gain(self, draft: Draft) -> float:
        """Tokens a second over plain with as much of a weighed draft, for each branch, as pays."""
        rows, ask = self.crowd.rows, self.crowd.branches * self.worth.ask
        written, best = 1.0, 0.0
        for size, likely in enumerate(sorted(path_probabilities(draft), reverse=True), 1):
            written += likely
            best = max(best, written / (self.studio.seconds(rows + rows * size) + ask))
        return best * self.studio.plain(rows)

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """All that is looked up, as one draft with measured confidences."""
        fortune = self._fortune(tip)
        fortune.given, fortune.weighed = [], None
        if not self.asks:
            return None
        if fortune.rest:
            fortune.rest -= 1
            return None
        began = self.clock()
        self.lookups.open(tip)
        self._catch_up()
        fortune.given, fortune.weighed = self.lookups.propose(tip, depth, nodes)
        fortune.asking += self.clock() - began
        if not fortune.given:
            fortune.fared(0, self.crowd.plain(self.studio))
        return fortune.weighed

    def _fortune(self, tip: Tip) -> Fortune:
        fortune = self.fortunes.get(tip)
        if fortune is None:
            fortune = self.fortunes[tip] = Fortune()
        return fortune

    def _catch_up(self) -> None:
        """Tell the sources of texts that have ended in their sleep."""
        while self.unheard:
            self._end(self.unheard.popleft())

    def _end(self, tip: Tip) -> None:
        for source in self._opened:
            source.end(tip)

    @property
    def _opened(self) -> list[Source]:
        """All that know anything."""
        models = [cast(Source, self.model.source)] if self.model else []
        return self.lookups.opened + models

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        """Record what became of the best draft, checked or not, and let the sources learn."""
        began = self.clock()
        fortune = self._fortune(tip)
        if fortune.given:
            hits = max([one.record.follow(one.draft, one.own, outcome.tokens) for one in fortune.given])
            if not fortune.was_modelled:
                fortune.fared(hits, self.crowd.plain(self.studio))
            elif self.model is not None:
                self.model.fared(hits, min(len(fortune.given[0].own), len(outcome.tokens)))
            if outcome.draft is fortune.weighed and len(fortune.given) == 1:
                outcome = outcome._replace(draft=fortune.given[0].draft)  # it was checked as it was given
            fortune.given = []
        if self.asks:
            self.lookups.observe(tip, outcome)
        asking, fortune.asking = self.clock() - began + fortune.asking, 0.0
        if fortune.was_modelled and self.model is not None:
            self.model.worth.step(len(outcome.tokens), outcome.rows, asking + self.model.took, self.studio)
        elif self.asks:
            self.worth.step(len(outcome.tokens), outcome.rows, asking, self.studio)
        fortune.was_modelled = False
        self.thought.discard(tip)

    def end(self, tip: Tip) -> None:
        self.thought.discard(tip)
        if self.fortunes.pop(tip, None) is None:
            self.unheard.append(tip)
            return
        self._end(tip)

    @property
    def is_warm(self) -> bool:
        return any(bool(getattr(source, "is_warm", False)) for source in self._opened)

    @property
    def state_bytes(self) -> float:
        return sum(float(getattr(source, "state_bytes", 0.0)) for source in self._opened)
