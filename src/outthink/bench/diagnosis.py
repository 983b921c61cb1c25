"""Why speculation is as fast as it is: where drafts are accepted, how good trees could be, what passes take.

    by depth      of the steps in which a node at depth d was checked below an accepted path of d - 1 nodes,
                  the share that accepted one of them
    by position   of the drafted tokens checked at tokens [low, high) of a text, the share that was accepted
    trees         accepted tokens a step, all for as many nodes as were checked in it:
                    accepted     by this tree
                    expected     by this tree, for fresh noise: sum over nodes of their path probability p
                    best known   by the tree with the largest sum, p being the model's own; it is known below
                                 checked nodes only, so the best of all trees is at least as good
                    hindsight    by the chain of the tokens that came: its nodes, or what the text still had
                  A drafter that knows the noise (another model that draws with it) can beat `best known`,
                  never `hindsight`
    v(rows)       seconds of a pass (engine/curve.py)
    speed-up      sum of (w / b) p(b)  over  sum of v(rows) + seconds of drafting: a pass of b branches wrote
                  w tokens, which w / b plain passes of b rows would have written; p is v where nobody drafts,
                  and passes follow one another without a look in between. A pass with rows of a
                  prompt counts alike in both sums

Trees by their expected acceptance: Wang et al., "OPT-Tree: Speculative Decoding with Adaptive Draft Tree
Structure". That speed follows from what drafts cost and how many are accepted: Yan et al., "Decoding
Speculative Decoding".
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from outthink.core.draft import Draft
from outthink.core.types import Answer
from outthink.engine.curve import Curve
from outthink.engine.steps import Likely, Step
from outthink.engine.trace import PassInfo, Trace

if TYPE_CHECKING:
    from outthink.core.branch import Branch
    from outthink.engine.engine import Engine
    from outthink.engine.request import Request

BIN = 32  # tokens of a text to a bin
CURVE_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Depth(NamedTuple):
    """One depth of drafts, from 1."""

    depth: int
    reached: int  # steps in which the path came so far and a node was checked there
    accepted: int

    @property
    def rate(self) -> float:
        return self.accepted / self.reached


class Bin(NamedTuple):
    """Steps that began at tokens [low, high) of a text."""

    low: int
    high: int
    steps: int
    checked: int
    accepted: int

    @property
    def rate(self) -> float:
        return self.accepted / self.checked if self.checked else 0.0


@dataclass(frozen=True)
class Trees:
    """Means over steps with a checked draft; see above."""

    steps: int = 0
    nodes: float = 0.0
    accepted: float = 0.0
    expected: float = 0.0
    best_known: float = 0.0
    hindsight: float = 0.0


@dataclass(frozen=True)
class Speed:
    """What the formula predicts, and what two runs took."""

    predicted: float
    measured: float
    plain_seconds: float
    drafted_seconds: float
    drafting_seconds: float
    tokens_per_pass: float  # written per branch and pass
    rows_per_pass: float
    identical: bool  # whether both runs have the same answers


@dataclass(frozen=True)
class Diagnosis:
    """All of it, of one or more runs."""

    depths: Sequence[Depth]
    bins: Sequence[Bin]
    trees: Trees
    curve: Sequence[tuple[int, float, float]]  # rows, seconds of the forward, v(rows)
    speed: Speed

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        curve = [{"rows": rows, "forward": forward, "v": v} for rows, forward, v in self.curve]
        return {
            "by_depth": [{**d._asdict(), "rate": d.rate} for d in self.depths],
            "by_position": [{**b._asdict(), "rate": b.rate} for b in self.bins],
            "trees": asdict(self.trees),
            "curve": curve,
            "speed": asdict(self.speed),
        }


class Pass(NamedTuple):
    """What the formula needs of a pass."""

    rows: int
    branches: int
    written: int
    prompt: bool  # whether rows of a prompt were in it


@dataclass(eq=False)
class Listener(Trace):
    """Keeps every checked draft and every pass."""

    wants_drafts = True
    stretches: list[tuple[Sequence[Step], int]] = field(default_factory=list)  # with the tokens of each
    passes: list[Pass] = field(default_factory=list)
    _branches: int = 0
    _written: int = 0

    def speculated(self, branch: Branch, steps: Sequence[Step], written: int) -> None:
        self.stretches.append((steps, written))

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        self._branches += 1
        self._written += len(tokens)

    def passed(self, info: PassInfo) -> None:
        if self._branches:  # a pass that wrote nothing read a prompt, which plain decoding does too
            self.passes.append(Pass(info.rows, self._branches, self._written, info.rows > info.drawn))
        self._branches = self._written = 0


# ---- acceptance


def by_depth(steps: Sequence[Step]) -> list[Depth]:
    """Acceptance by depth in the draft."""
    reached: dict[int, int] = {}
    accepted: dict[int, int] = {}
    for step in steps:
        for depth, parent in enumerate((-1, *step.path), 1):
            if any(step.draft.parents[node] == parent for node in step.likely if node >= 0):
                reached[depth] = reached.get(depth, 0) + 1
                accepted[depth] = accepted.get(depth, 0) + (len(step.path) >= depth)
    return [Depth(depth, reached[depth], accepted[depth]) for depth in sorted(reached)]


def by_position(steps: Sequence[Step], width: int = BIN) -> list[Bin]:
    """Acceptance by position in the text."""
    found: dict[int, list[int]] = {}
    for step in steps:
        counts = found.setdefault(step.written // width, [0, 0, 0])
        for i, count in enumerate((1, len(step.likely) - 1, len(step.path))):
            counts[i] += count
    return [Bin(at * width, (at + 1) * width, *found[at]) for at in sorted(found)]


# ---- trees


def expected(draft: Draft, known: Likely) -> float:
    """What the checked nodes of a draft are expected to have accepted: their path probabilities, summed."""
    chance = {-1: 1.0}
    for node in sorted(node for node in known if node >= 0):
        above = chance[draft.parents[node]]
        chance[node] = above * math.exp(known[draft.parents[node]].get(draft.tokens[node], -math.inf))
    return sum(chance.values()) - 1.0


def best_known(draft: Draft, known: Likely, nodes: int) -> float:
    """The same for the best tree of so many nodes whose path probabilities are known.

    Take the likeliest of all tokens below the tip and below what was taken and checked: path probabilities
    only fall on the way down, so the greedy choice is the best.
    """
    checked = {(draft.parents[node], draft.tokens[node]): node for node in known if node >= 0}
    heap = [(-math.exp(logp), -1, token) for token, logp in known[-1].items()]
    heapq.heapify(heap)
    total = 0.0
    for _ in range(nodes):
        if not heap:
            break
        chance, parent, token = heapq.heappop(heap)
        total -= chance
        below = checked.get((parent, token))
        if below is not None:
            for further, logp in known[below].items():
                heapq.heappush(heap, (chance * math.exp(logp), below, further))
    return total


def trees_of(stretches: Sequence[tuple[Sequence[Step], int]]) -> Trees:
    """The means over all steps; a stretch comes with the number of its tokens."""
    sums, count = [0.0] * 5, 0
    for steps, total in stretches:
        for step in steps:
            nodes, left = len(step.likely) - 1, max(0, total - step.written - 1)
            best = best_known(step.draft, step.likely, nodes)
            each = (nodes, len(step.path), expected(step.draft, step.likely), best, min(nodes, left))
            sums = [a + b for a, b in zip(sums, each, strict=True)]
            count += 1
    return Trees(count, *(total / max(1, count) for total in sums))


# ---- speed


def predicted(passes: Sequence[Pass], v: Curve, drafting: float) -> float:
    """The speed-up by the formula above; 1 where nothing was written."""
    plain = drafted = 0.0
    for one in passes:
        seconds = v[max(1, one.rows)]
        drafted += seconds
        plain += seconds if one.prompt else one.written / one.branches * v.plain(one.branches)
    return plain / (drafted + drafting) if passes else 1.0


def diagnose(
    engine: Engine, requests: Sequence[Request], listen: Callable[[], None] = lambda: None
) -> Diagnosis:
    """Run every request drafted with a listener, whose copies cost time; then plain, then drafted, timed.

    The first run also leaves the prompts in the cache, so that the other two begin alike. `listen` hears of
    every finished run. The engine or the requests must name a drafter.
    """
    from dataclasses import replace

    curve: Curve = engine.main.curve()  # type: ignore[union-attr]
    listener, before = Listener(), engine.trace
    engine.trace = listener
    try:
        heard, _ = _timed(engine, requests, listen)
    finally:
        engine.trace = before
    plain, plain_seconds = _timed(engine, [replace(one, speculate="none") for one in requests], listen)
    drafted, seconds = _timed(engine, requests, listen)
    steps = [step for own, _ in listener.stretches for step in own]
    drafting = _drafting(heard)
    pure = [one for one in listener.passes if not one.prompt]
    return Diagnosis(
        by_depth(steps),
        by_position(steps),
        trees_of(listener.stretches),
        [(rows, curve.base(rows), curve[rows]) for rows in CURVE_ROWS],
        Speed(
            predicted(listener.passes, curve, drafting),
            plain_seconds / max(seconds, 1e-9),
            plain_seconds,
            seconds,
            drafting,
            sum(one.written for one in pure) / max(1, sum(one.branches for one in pure)),
            sum(one.rows for one in pure) / max(1, len(pure)),
            [a.text for a in plain] == [a.text for a in drafted],
        ),
    )


def _timed(
    engine: Engine, requests: Sequence[Request], listen: Callable[[], None]
) -> tuple[list[Answer], float]:
    """The answers, one after the other, and the seconds that they took."""
    began, answers = engine.clock(), []
    for request in requests:
        answers.append(engine.run(request))
        listen()
    return answers, engine.clock() - began


def _drafting(answers: Sequence[Answer]) -> float:
    """Seconds of making drafts, of the drafters that the text was written with."""
    tallies: list[Mapping[str, Any]] = [answer.receipt.speculation for answer in answers if answer.receipt]
    return float(sum(tally.seconds for one in tallies for name, tally in one.items() if "/" not in name))
