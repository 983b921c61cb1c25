"""Whichever drafter pays at this branch and step, at the size that pays, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from outthink.core.drafting import Drafter, Outcome, Source, Studio, Tip
from outthink.core.types import Draft, path_probabilities
from outthink.spec import show
from outthink.speculate.consensus import Consensus
from outthink.speculate.copy import Copy

BUCKETS = 8  # of a source's own confidence, each with its record
WEIGHT = 2.0  # how many observations a source's own word is worth
FORGET = 0.98  # the weight of the past after one more observation
HOPELESS = 0.05  # fewer expected tokens than this are not worth a choice
PATIENCE = 2  # fruitless steps of a branch before its sources rest
LONGEST_REST = 16  # steps
WINDOW = 24  # steps of all branches after which it is judged whether drafting pays at all
MARGIN = 1.05  # by how much it must
FIRST_NAP, LONGEST_NAP = 16.0, 1024.0  # rests of all sources where it does not, in windows; they double


@dataclass(frozen=True)
class Auto:
    """Ask cheap drafters, trust each as far as its record goes, and check only the nodes that pay.

        at each step of each branch: the draft with the largest sum of path probabilities,
            where a node's probability is the measured acceptance of this source at this confidence;
        over the batch: the nodes with the most expected tokens per measured second (engine/choice.py)

    What is learned lasts for one request and starts from the sources' own word. A branch whose drafts fail is
    left alone for a while, twice as long each time; and where asking takes longer than it saves, by the
    clock, nobody is asked for a while. The clock changes the cost, never the text.
    """

    sources: tuple[Drafter, ...] = (Copy(), Consensus())
    is_choosy = True
    remote_safe = True
    __repr__ = show

    def open(self, studio: Studio) -> AutoSource:
        return AutoSource([drafter.open(studio) for drafter in self.sources])


@dataclass(slots=True)
class Fortune:
    """How a branch fares: the draft that it was given, and how long it is left alone after bad ones."""

    draft: Draft | None = None  # as its source gave it, with the source's own confidences
    misses: int = 0  # steps in a row without a right token
    rest: int = 0  # steps left to rest
    last: int = 0  # the length of the last rest

    def missed(self) -> None:
        self.misses += 1
        if self.misses > PATIENCE:
            self.last = self.rest = min(LONGEST_REST, max(1, 2 * self.last))

    def hit(self) -> None:
        self.misses = self.last = 0


@dataclass(eq=False)
class AutoSource:
    """The live half of Auto."""

    sources: Sequence[Source]
    name: str = "auto"
    tops: int = 0
    records: dict[tuple[str, int], list[float]] = field(default_factory=dict)  # (source, bucket): hits, tries
    fortunes: dict[Tip, Fortune] = field(default_factory=dict)
    since: float = field(default_factory=perf_counter)  # when the window under way began
    spent: float = 0.0  # seconds in it that went into asking and learning
    steps: int = 0
    written: int = 0
    nap: float = FIRST_NAP / 2  # the last rest of all sources, in windows
    wake_at: float = 0.0  # nobody is asked or told anything before

    def __post_init__(self) -> None:
        self.tops = max((source.tops for source in self.sources), default=0)

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        """The best draft of all sources, its confidences as measured."""
        began = perf_counter()
        best = self._best(tip, depth, nodes)
        self.spent += perf_counter() - began
        return best

    def _best(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        fortune = self.fortunes.get(tip)
        if fortune is None:
            fortune = self.fortunes[tip] = Fortune()
        fortune.draft = None
        if fortune.rest:
            fortune.rest -= 1
            return None
        best, most = None, HOPELESS
        for source in self.sources:
            draft = source.propose(tip, depth, nodes)
            if draft is None or not draft.tokens:
                continue
            weighed = self._weighed(draft, source.name)
            expected = sum(path_probabilities(weighed))
            if expected > most:
                best, most = weighed, expected
                fortune.draft = replace(draft, by=weighed.by, conf=draft.conf or (0.5,) * len(draft.tokens))
        if best is None:
            fortune.missed()
        return best

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        """Record what became of the best draft, checked or not, and let the sources learn."""
        began = perf_counter()
        self._learn(tip, outcome)
        now = perf_counter()
        self.spent += now - began
        self.steps += 1
        self.written += len(outcome.tokens)
        if self.steps >= WINDOW:
            self._judge(now)

    def _judge(self, now: float) -> None:
        """Whether drafting pays: would the same tokens, one a step and nobody asked, have taken longer?"""
        wall = now - self.since
        plain = (wall - self.spent) * self.written / self.steps
        if plain < MARGIN * wall:
            self.nap = min(2 * self.nap, LONGEST_NAP)
            self.wake_at = now + self.nap * wall
        else:
            self.nap = FIRST_NAP / 2
        self.steps = self.written = 0
        self.spent, self.since = 0.0, max(now, self.wake_at)

    def _learn(self, tip: Tip, outcome: Outcome) -> None:
        fortune = self.fortunes.get(tip)
        if fortune is not None and fortune.draft is not None:
            if self._record(fortune.draft, outcome.tokens):
                fortune.hit()
            else:
                fortune.missed()
        for source in self.sources:
            source.observe(tip, outcome)

    def end(self, tip: Tip) -> None:
        self.fortunes.pop(tip, None)
        for source in self.sources:
            source.end(tip)

    def _weighed(self, draft: Draft, name: str) -> Draft:
        own = draft.conf or (0.5,) * len(draft.tokens)
        return replace(draft, conf=tuple(self._trust(name, conf) for conf in own), by=draft.by or name)

    def _trust(self, name: str, conf: float) -> float:
        hits, tries = self.records.get((name, _bucket(conf)), (0.0, 0.0))
        return min(0.999, (hits + WEIGHT * conf) / (tries + WEIGHT))

    def _record(self, draft: Draft, tokens: Sequence[int]) -> int:
        """Follow what was written through the draft; how many of its nodes were right."""
        at, hits = -1, 0
        for token in tokens:
            found = -2
            for node in range(at + 1, len(draft.tokens)):
                if draft.parents[node] == at:
                    right = draft.tokens[node] == token
                    self._count(draft.by, draft.conf[node], right)
                    found = node if right else found
            if found < 0:
                break
            at, hits = found, hits + 1
        return hits

    def _count(self, name: str, conf: float, right: bool) -> None:
        record = self.records.setdefault((name, _bucket(conf)), [0.0, 0.0])
        record[0] = FORGET * record[0] + right
        record[1] = FORGET * record[1] + 1


def _bucket(conf: float) -> int:
    return min(BUCKETS - 1, int(conf * BUCKETS))
