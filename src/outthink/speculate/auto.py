"""Whichever drafter pays at this branch and step, at the size that pays, or none."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from outthink.core.draft import Draft, flaw
from outthink.core.drafting import Drafter, Outcome, Source, Studio, Tip
from outthink.spec import show
from outthink.speculate._guard import Guard
from outthink.speculate._model import LIKELY, Model, parted
from outthink.speculate._worth import Worth
from outthink.speculate.consensus import Consensus
from outthink.speculate.copy import Copy

BUCKETS = 8  # of a source's own confidence, each with its record
WEIGHT = 2.0  # how many observations a source's own word is worth
FORGET = 0.98  # the weight of the past after one more observation
HOPELESS = 0.05  # fewer expected tokens than this are not worth a choice
PATIENCE = 2  # fruitless steps of a branch before its sources rest
LONGEST_REST = 16  # steps
UNHEARD = 16  # texts that ended while nobody was asked, kept for when somebody is


@dataclass(frozen=True)
class Auto:
    """Ask cheap drafters, trust each as far as its record goes, and check only the nodes that pay.

        where drafts cannot win by the measured v(rows), nobody is asked, nobody is told (_worth.py); else
        at each step of each branch: the draft with the largest sum of path probabilities,
            where a node's probability is the measured acceptance of this source at this confidence;
            a drafting model among the sources, such as draft_model(n=8), runs where it promises more tokens
            a second than that draft, at the size that does so, and sleeps where it cannot win (_model.py);
        over the batch: the nodes with the most expected tokens per measured second (engine/choice.py)

    What is learned of texts lasts for one request, if the engine is not warm, and starts from the sources'
    own word; whether drafting pays is remembered by the engine. A branch whose drafts fail is left alone for
    a while, twice as long each time, and so are all where drafting has cost more than it saved. What passes
    take changes the cost, never the text.
    """

    sources: tuple[Drafter, ...] = (Copy(), Consensus())
    is_choosy = True
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("give at least one source")
        if any(hasattr(source, "inner") for source in self.sources):
            raise ValueError("staged cannot be a source of auto: give draft_model")

    def open(self, studio: Studio) -> AutoSource:
        return AutoSource([Guard(drafter.open(studio), studio) for drafter in self.sources], studio)


class Fortune:
    """How a branch fares: the draft that it was given, and how long it is left alone after bad ones."""

    __slots__ = ("draft", "name", "own", "weighed", "misses", "rest", "last", "asking", "was_modelled")

    def __init__(self) -> None:
        self.draft: Draft | None = None  # as its source gave it
        self.name = ""  # of that source
        self.own: Sequence[float] = ()  # with the source's own confidences
        self.weighed: Draft | None = None  # with measured ones
        self.misses = 0  # steps in a row without a right token
        self.rest = 0  # steps left to rest
        self.last = 0  # the length of the last rest
        self.asking = 0.0  # seconds that went into the last draft
        self.was_modelled = False  # whether a model was run for it

    def missed(self) -> None:
        self.misses += 1
        if self.misses > PATIENCE:
            self.last = self.rest = min(LONGEST_REST, max(1, 2 * self.last))

    def fared(self, hits: int) -> None:
        """So many tokens of a draft were right."""
        if hits:
            self.misses = self.last = 0
        else:
            self.missed()


class AutoSource:
    """The live half of Auto."""

    name = "auto"
    think: Callable[[Tip, int, int], Awaitable[Draft | None]]  # only where there is a drafting model

    def __init__(self, sources: Sequence[Source], studio: Studio) -> None:
        self.sources, self.studio, self.clock = sources, studio, studio.clock
        self.lookups, self.model = parted(sources, studio)
        self.tops = max((source.tops for source in sources), default=0)
        self.worth: Worth = studio.pace.setdefault("worth", Worth())
        self.worths = [self.worth]  # whoever has a verdict
        self.records: dict[str, list[list[float]]] = {}  # of each source, by bucket: hits, tries
        self.fortunes: dict[Tip, Fortune] = {}  # of those that somebody was asked about
        self.unheard: deque[Tip] = deque(maxlen=UNHEARD)
        self.asks = True  # whether those that look up are asked in this pass
        self.branches = 1  # in this pass
        self.thought: set[Tip] = set()  # those that a model may have drafted for before this pass
        if self.model is not None:
            self.think = self._think
            self.worths.append(self.model.worth)

    # ---- when to sleep

    def wakes(self, branches: int) -> bool:
        """Whether to be asked, and told, in a pass of so many branches."""
        self.branches = branches
        if self.model is None:
            return self.worth.wakes(branches, self.studio)
        asked = self._asked()
        self.asks = self.worth in asked and self.worth.wakes(branches, self.studio)
        if self.model.worth in asked:
            self.model.wakes(branches, self._trusted)
        return self.asks or self.model.size > 0 or bool(self.thought)

    @property
    def thinks(self) -> bool:
        """Whether a model is to draft for the pass to come."""
        model = self.model
        if model is None or not model.size or model.worth.resting:
            return False
        return not (self.worth.looks and self.worth.resting)

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
        own = (LIKELY,) * len(draft.tokens)
        self._take(fortune, draft, draft.by or self.model.source.name, own)
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
        """Tokens a second with a weighed draft for each branch over plain."""
        branches, size = self.branches, len(draft.tokens)
        seconds = self.studio.seconds(branches + branches * size) + branches * self.worth.ask
        return (1.0 + _expected(draft.conf, draft.parents)) * self.studio.plain(branches) / seconds

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """The best draft that is looked up, its confidences as measured."""
        fortune = self._fortune(tip)
        fortune.draft = fortune.weighed = None
        if not self.asks:
            return None
        if fortune.rest:
            fortune.rest -= 1
            return None
        began = self.clock()
        self._catch_up()
        self._ask(fortune, tip, depth, nodes)
        if fortune.draft is None:
            fortune.missed()
        fortune.asking += self.clock() - began
        return fortune.weighed

    def _fortune(self, tip: Tip) -> Fortune:
        fortune = self.fortunes.get(tip)
        if fortune is None:
            fortune = self.fortunes[tip] = Fortune()
        return fortune

    def _catch_up(self) -> None:
        """Tell the sources of texts that have ended in their sleep."""
        while self.unheard:
            tip = self.unheard.popleft()
            for source in self.sources:
                source.end(tip)

    def _ask(self, fortune: Fortune, tip: Tip, depth: int, nodes: int) -> None:
        most, found = HOPELESS, None
        for source in self.lookups:
            draft = source.propose(tip, depth, nodes)
            if draft is None or not draft.tokens:
                continue
            own = draft.conf or (0.5,) * len(draft.tokens)
            name = draft.by or source.name
            expected = _expected(self._trusted(name, own), draft.parents)
            if expected > most:
                most, found = expected, (draft, name, own)
        if found is not None:
            self._take(fortune, *found)

    def _take(self, fortune: Fortune, draft: Draft, name: str, own: Sequence[float]) -> None:
        """This is the draft, from a source of this name that is so sure of it."""
        fortune.draft, fortune.name, fortune.own = draft, name, own
        fortune.weighed = Draft(
            draft.tokens, draft.parents, tuple(self._trusted(name, own)), draft.dists, name
        )

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        """Record what became of the best draft, checked or not, and let the sources learn."""
        began = self.clock()
        fortune, nodes = self._fortune(tip), len(outcome.draft.tokens) if outcome.draft else 0
        if fortune.draft is not None:
            hits = self._record(fortune, outcome.tokens)
            if not fortune.was_modelled:
                fortune.fared(hits)
            if outcome.draft is fortune.weighed:  # it was checked whole: its source knows it by its own
                outcome = outcome._replace(draft=fortune.draft)
        if self.asks:
            for source in self.sources:
                source.observe(tip, outcome)
        asking, fortune.asking = self.clock() - began + fortune.asking, 0.0
        if fortune.was_modelled and self.model is not None:
            self.model.worth.step(len(outcome.tokens), nodes, asking + self.model.took, self.studio)
        elif self.asks:
            self.worth.step(len(outcome.tokens), nodes, asking, self.studio)
        fortune.was_modelled = False
        self.thought.discard(tip)

    def end(self, tip: Tip) -> None:
        self.thought.discard(tip)
        if self.fortunes.pop(tip, None) is None:
            self.unheard.append(tip)
            return
        for source in self.sources:
            source.end(tip)

    @property
    def is_warm(self) -> bool:
        return any(bool(getattr(source, "is_warm", False)) for source in self.sources)

    @property
    def state_bytes(self) -> float:
        return sum(float(getattr(source, "state_bytes", 0.0)) for source in self.sources)

    def _trusted(self, name: str, own: Sequence[float]) -> list[float]:
        """What a source's own confidences are worth by its record."""
        record = self.records.get(name)
        if record is None:
            record = self.records[name] = [[0.0, 0.0] for _ in range(BUCKETS)]
        trusted = []
        for conf in own:
            hits, tries = record[min(BUCKETS - 1, int(conf * BUCKETS))]
            trusted.append(min(0.999, (hits + WEIGHT * conf) / (tries + WEIGHT)))
        return trusted

    def _record(self, fortune: Fortune, tokens: Sequence[int]) -> int:
        """Follow what was written through the draft; how many of its nodes were right."""
        draft, own, record = fortune.draft, fortune.own, self.records[fortune.name]
        assert draft is not None
        drafted, parents, size = draft.tokens, draft.parents, len(draft.tokens)
        at, hits = -1, 0
        for token in tokens:
            found = -2
            for node in range(at + 1, size):
                if parents[node] == at:
                    entry = record[min(BUCKETS - 1, int(own[node] * BUCKETS))]
                    right = drafted[node] == token
                    entry[0] = FORGET * entry[0] + right
                    entry[1] = FORGET * entry[1] + 1
                    found = node if right else found
            if found < 0:
                break
            at, hits = found, hits + 1
        return hits


def _expected(conf: Sequence[float], parents: Sequence[int]) -> float:
    """How many tokens of a draft are expected to be right."""
    paths: list[float] = []
    for likely, parent in zip(conf, parents, strict=True):
        paths.append(likely * paths[parent] if parent >= 0 else likely)
    return sum(paths)
