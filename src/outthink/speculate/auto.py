"""Whichever drafter pays at this branch and step, at the size that pays, or none."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.draft import Draft
from outthink.core.drafting import Drafter, Outcome, Source, Studio, Tip
from outthink.spec import show
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

    def open(self, studio: Studio) -> AutoSource:
        return AutoSource([drafter.open(studio) for drafter in self.sources], studio)


class Fortune:
    """How a branch fares: the draft that it was given, and how long it is left alone after bad ones."""

    __slots__ = ("draft", "name", "own", "weighed", "misses", "rest", "last", "asking")

    def __init__(self) -> None:
        self.draft: Draft | None = None  # as its source gave it
        self.name = ""  # of that source
        self.own: Sequence[float] = ()  # with the source's own confidences
        self.weighed: Draft | None = None  # with measured ones
        self.misses = 0  # steps in a row without a right token
        self.rest = 0  # steps left to rest
        self.last = 0  # the length of the last rest
        self.asking = 0.0  # seconds that went into the last draft

    def missed(self) -> None:
        self.misses += 1
        if self.misses > PATIENCE:
            self.last = self.rest = min(LONGEST_REST, max(1, 2 * self.last))

    def hit(self) -> None:
        self.misses = self.last = 0


class AutoSource:
    """The live half of Auto."""

    name = "auto"

    def __init__(self, sources: Sequence[Source], studio: Studio) -> None:
        self.sources, self.studio, self.clock = sources, studio, studio.clock
        self.tops = max((source.tops for source in sources), default=0)
        self.worth: Worth = studio.pace.setdefault("worth", Worth())
        self.records: dict[str, list[list[float]]] = {}  # of each source, by bucket: hits, tries
        self.fortunes: dict[Tip, Fortune] = {}  # of those that somebody was asked about
        self.unheard: deque[Tip] = deque(maxlen=UNHEARD)

    def wakes(self, branches: int) -> bool:
        """Whether to be asked, and told, in a pass of so many branches."""
        return self.worth.wakes(branches, self.studio)

    def naps(self) -> int:
        """For how many questions more the answer is no."""
        return self.worth.naps()

    def slept(self, count: int) -> None:
        """So many of them are not asked."""
        self.worth.slept(count)

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """The best draft of all sources, its confidences as measured."""
        fortune = self._fortune(tip)
        fortune.draft = fortune.weighed = None
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
        most, conf = HOPELESS, []
        for source in self.sources:
            draft = source.propose(tip, depth, nodes)
            if draft is None or not draft.tokens:
                continue
            own = draft.conf or (0.5,) * len(draft.tokens)
            name = draft.by or source.name
            trusted = self._trusted(name, own)
            expected = _expected(trusted, draft.parents)
            if expected > most:
                most, conf = expected, trusted
                fortune.draft, fortune.name, fortune.own = draft, name, own
        draft = fortune.draft
        if draft is not None:
            fortune.weighed = Draft(draft.tokens, draft.parents, tuple(conf), draft.dists, fortune.name)

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        """Record what became of the best draft, checked or not, and let the sources learn."""
        began = self.clock()
        fortune, nodes = self._fortune(tip), len(outcome.draft.tokens) if outcome.draft else 0
        if fortune.draft is not None:
            if self._record(fortune, outcome.tokens):
                fortune.hit()
            else:
                fortune.missed()
            if outcome.draft is fortune.weighed:  # it was checked whole: its source knows it by its own
                outcome = outcome._replace(draft=fortune.draft)
        for source in self.sources:
            source.observe(tip, outcome)
        asking, fortune.asking = self.clock() - began + fortune.asking, 0.0
        self.worth.step(len(outcome.tokens), nodes, asking, self.studio)

    def end(self, tip: Tip) -> None:
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
