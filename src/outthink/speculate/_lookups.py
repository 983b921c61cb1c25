"""Drafters that look things up, side by side: what each one's word is worth, what asking it costs, one tree.

at a step of a branch
    each source that takes at most DEAR of a plain step is asked
    p(node of a source) = its measured acceptance at the confidence that the source has in it
    draft = all of them laid over one another; a node that several guess has the largest p of theirs
after it
    each source's own draft is followed through what was written, checked or not: hits and tries by confidence
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

from outthink.core.draft import Draft, path_probabilities
from outthink.core.drafting import Outcome, Source, Tip
from outthink.speculate._overlay import Overlay

BUCKETS = 8  # of a source's own confidence, each with its record
WEIGHT = 2.0  # how many observations a source's own word is worth
FORGET = 0.98  # the weight of the past after one more observation
HOPELESS = 0.05  # fewer expected tokens than this are not worth a choice
DEAR = 0.1  # of a plain step: asking that takes longer is left
PAST = 0.9  # its weight in what asking costs
SLOW = 4.0  # times the usual: what one step is believed to have cost
SURE = 0.999  # no token is likelier


class Record:
    """How often one source's tokens were right, by the confidence that it had in them."""

    __slots__ = ("hits", "tries")

    def __init__(self) -> None:
        self.hits, self.tries = [0.0] * BUCKETS, [0.0] * BUCKETS

    def trusted(self, own: Sequence[float]) -> list[float]:
        """What its own confidences are worth: (hits + WEIGHT conf) / (tries + WEIGHT)."""
        hits, tries, out = self.hits, self.tries, []
        for conf in own:
            at = min(BUCKETS - 1, int(conf * BUCKETS))
            out.append(min(SURE, (hits[at] + WEIGHT * conf) / (tries[at] + WEIGHT)))
        return out

    def follow(self, draft: Draft, own: Sequence[float], tokens: Sequence[int]) -> int:
        """Follow what was written through a draft; how many of its nodes were right."""
        drafted, parents, size = draft.tokens, draft.parents, len(draft.tokens)
        at, right = -1, 0
        for token in tokens:
            found = -2
            for node in range(at + 1, size):
                if parents[node] == at:
                    is_right = drafted[node] == token
                    self._hear(min(BUCKETS - 1, int(own[node] * BUCKETS)), is_right)
                    found = node if is_right else found
            if found < 0:
                break
            at, right = found, right + 1
        return right

    def _hear(self, bucket: int, is_right: bool) -> None:
        self.hits[bucket] = FORGET * self.hits[bucket] + is_right
        self.tries[bucket] = FORGET * self.tries[bucket] + 1


class Given(NamedTuple):
    """A source's draft as it gave it, with its own confidences, and who answers for it."""

    draft: Draft
    own: Sequence[float]
    record: Record


class Lookup:
    """One source, opened when it is first asked, and what it has cost: `costs` outlives the request."""

    def __init__(self, open_one: Callable[[], Source], costs: dict[str, float], key: str) -> None:
        self.open_one, self.costs = open_one, costs
        self.asking, self.telling = f"{key} asking", f"{key} telling"

    @cached_property
    def source(self) -> Source:
        """The live half."""
        return self.open_one()

    @property
    def is_open(self) -> bool:
        """Whether it was ever asked."""
        return "source" in self.__dict__

    @property
    def cost(self) -> float:
        """Seconds a step; 0 as long as none was measured."""
        return self.costs.get(self.asking, 0.0) + self.costs.get(self.telling, 0.0)

    def propose(self, tip: Tip, depth: int, nodes: int, clock: Callable[[], float]) -> Draft | None:
        """What it guesses."""
        began = clock()
        draft = self.source.propose(tip, depth, nodes)
        self._took(self.asking, clock() - began)
        return draft

    def observe(self, tip: Tip, outcome: Outcome, clock: Callable[[], float]) -> None:
        """Let it learn."""
        began = clock()
        self.source.observe(tip, outcome)
        self._took(self.telling, clock() - began)

    def _took(self, what: str, seconds: float) -> None:
        """So long this time; one slow moment makes nobody dear."""
        known = self.costs.get(what)
        if known is not None:
            seconds = PAST * known + (1 - PAST) * min(seconds, SLOW * known)
        self.costs[what] = seconds


class Lookups:
    """All that look up, for one request."""

    def __init__(
        self, openers: Sequence[Callable[[], Source]], costs: dict[str, float], clock: Callable[[], float]
    ) -> None:
        self.all = [Lookup(opener, costs, str(i)) for i, opener in enumerate(openers)]
        self.asked, self.costs = self.all, costs  # in this pass; of each, from request to request
        self.records: dict[str, Record] = {}
        self.clock = clock

    @property
    def tops(self) -> int:
        """How many of the likeliest tokens those who are asked want to hear."""
        return max((one.source.tops for one in self.asked if one.is_open), default=0)

    @property
    def opened(self) -> list[Source]:
        """Those that were ever asked."""
        return [one.source for one in self.all if one.is_open]

    def open(self, tip: Tip) -> None:
        """Open who is asked for the first time; one that cannot be opened is said once, and gone."""
        for one in self.asked:
            if not one.is_open:
                try:
                    one.source  # noqa: B018
                except Exception as error:  # whatever it does wrong, the others go on
                    tip.complain(f"a source cannot be opened: {type(error).__name__}: {error}", "auto")
                    self.all = [other for other in self.all if other is not one]
                    self.asked = [other for other in self.asked if other is not one]

    def cheap(self, share: float) -> bool:
        """Ask those who cost little beside a plain step of so many seconds; whether there are any."""
        self.asked = [one for one in self.all if one.cost <= DEAR * share]
        return bool(self.asked)

    def again(self) -> None:
        """Who is left is not measured: hold everybody a little cheaper, so that they are tried in the end."""
        for what in self.costs:
            self.costs[what] *= PAST

    def record(self, name: str) -> Record:
        """Of whoever signs drafts with this name."""
        found = self.records.get(name)
        if found is None:
            found = self.records[name] = Record()
        return found

    def propose(self, tip: Tip, depth: int, nodes: int) -> tuple[list[Given], Draft | None]:
        """What each one gave, and all of it as one draft whose confidences are measured."""
        given: list[Given] = []
        weighed: list[Draft] = []
        for one in self.asked:
            draft = one.propose(tip, depth, nodes, self.clock)
            if draft is None or not draft.tokens:
                continue
            name = draft.by or one.source.name
            own = draft.conf or (0.5,) * len(draft.tokens)
            record = self.record(name)
            given.append(Given(draft, own, record))
            conf = tuple(record.trusted(own))
            weighed.append(Draft(draft.tokens, draft.parents, conf, draft.dists, name))
        return given, merged(weighed, nodes)

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        """Let those who are asked learn."""
        for one in self.asked:
            one.observe(tip, outcome, self.clock)


def expected(draft: Draft) -> float:
    """How many tokens of a draft are expected to be right."""
    return sum(path_probabilities(draft))


def merged(drafts: Sequence[Draft], room: int) -> Draft | None:
    """Weighed drafts laid over one another, the most promising first; None where nothing is to be hoped for.

    Drafts that say what they were drawn from stay alone: the rule that weighs draws must hear of all of them.
    Siblings share what the first ones leave: at most one of them is right.
    """
    if not drafts:
        return None
    if len(drafts) > 1:
        drafts = sorted(drafts, key=lambda draft: -expected(draft))  # sorted is stable: ties in their order
    best = drafts[0]
    if expected(best) <= HOPELESS:
        return None
    if len(drafts) == 1 or any(draft.dists for draft in drafts):
        return best
    tree = Tree(room)
    by = [draft.by for draft in drafts if tree.add(draft)]  # who gave what nobody had given before
    return best if len(tree.tokens) == len(best.tokens) else tree.draft("+".join(by))


class Tree(Overlay):
    """A node is as likely as its surest giver says, as far as its siblings have left it."""

    def __init__(self, room: int) -> None:
        super().__init__(room)
        self.left: dict[int, float] = {}  # by parent: what its children have left of 1

    def _weigh(self, node: int, conf: float, is_new: bool) -> None:
        parent = self.parents[node]
        left = self.left.get(parent, 1.0)
        more = min(max(conf - self.conf[node], 0.0), left)
        self.conf[node] += more
        self.left[parent] = left - more
