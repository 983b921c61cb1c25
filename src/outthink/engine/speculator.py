"""Drafting for one request: ask for drafts, keep what is sound, accept, tell the source, keep the tally.

A drafter that raises, or whose draft is not sound, costs its draft and nothing else; the receipt says so
once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from outthink.core.draft import Draft, flaw
from outthink.core.drafting import AcceptRule, Drafter, Outcome, Sketching, Source
from outthink.core.errors import BadInput
from outthink.core.jobs import Drawn
from outthink.core.receipt import Drafting
from outthink.core.rng import Chance
from outthink.engine.steps import Likely, Step, likely
from outthink.engine.studio import EngineStudio
from outthink.speculate.rules._rows import unsound
from outthink.speculate.rules.match import Match

if TYPE_CHECKING:
    from outthink.engine.growth import Growth
    from outthink.engine.request import Run
    from outthink.engine.stretch import Stretch

MOST_NODES = 64  # of one draft


class Drawings:
    """What the model said at the nodes of a draft: `core.drafting.Target`."""

    def __init__(self, drawn: Mapping[int, Drawn]) -> None:
        self.drawn = drawn

    def has(self, node: int) -> bool:
        return node in self.drawn

    def token(self, node: int) -> int:
        return self.drawn[node].token

    def row(self, node: int) -> Any:
        rows = self.drawn[node].rows
        assert rows is not None
        return rows[1]


SOURCE = ("name", "tops", "propose", "observe", "end")  # what a source has, whatever else


class Speculator:
    """One request's drafter at work."""

    def __init__(self, run: Run, drafter: Drafter, rule: AcceptRule | None) -> None:
        self.run = run
        self.rule: AcceptRule = rule or Match()
        self.studio = EngineStudio(run, drafter, shares_noise=not self.rule.reads_rows)
        self.is_warm = False  # whether earlier requests have taught it
        self.source: Source = self._open(drafter)
        if lacking := [name for name in SOURCE if not hasattr(self.source, name)]:
            raise BadInput(f"{drafter!r}: what its open() gives has no {' and no '.join(lacking)}")
        if not isinstance(self.source.tops, int) or self.source.tops < 0:
            raise BadInput(f"{drafter!r}: tops={self.source.tops!r}: give a whole number, 0 or more")
        self._wakes: Callable[[int, int], bool] | None = getattr(self.source, "wakes", None)
        self._slept: Callable[[int], None] | None = getattr(self.source, "slept", None)
        self.is_asleep = (
            self._wakes is not None
        )  # left alone in this pass: a step costs what a plain one does
        self.computes = hasattr(self.source, "think")
        # what a rule weighs must not be cut by its own probability: that parts the distributions
        self.is_choosy = bool(getattr(drafter, "is_choosy", False)) and not self.rule.reads_rows
        if self.rule.reads_rows and (self.computes or self.sketching is not None):
            raise BadInput(
                f"{drafter!r} drafts with the noise of the text itself, which {self.rule!r} does not allow"
            )
        inner = getattr(drafter, "inner", None)  # who drafts for a drafting model
        self.inner = None if inner is None else Speculator(run, inner, None)
        if self.inner is not None and (self.inner.computes or self.inner.sketching is not None):
            raise BadInput(f"{drafter!r}: what drafts for a drafting model cannot be a model itself")
        if self.inner is not None:
            self.inner.listens = False  # its steps are not the text's
        self.tallies: dict[str, Drafting] = {}
        self.steps = self.written = 0
        self.listens: bool = run.engine.trace.wants_drafts
        self.heard: dict[Stretch, list[Step]] = {}
        self._likely: Likely = {}

    def _open(self, drafter: Drafter) -> Source:
        """The live half: that of earlier requests where the engine is warm.

        Not under a rule that weighs draws: a seed that comes again draws its noise again, and a draft that
        knows what it wrote would be no chance.
        """
        request, engine = self.run.request, self.run.engine
        if not (engine.warm if request.warm is None else request.warm):
            return drafter.open(self.studio)
        if self.rule.reads_rows:
            self.run.degrade(
                "warm", f"drafters start cold: under {self.rule!r} a draft must not know what a seed wrote"
            )
            return drafter.open(self.studio)
        source, self.is_warm = engine.memory.source(
            request.share, request.salt, repr(drafter), lambda: drafter.open(self.studio)
        )
        return source

    @property
    def tops(self) -> int:
        """How many of the likeliest tokens of its rows the source wants to hear while it is awake."""
        return self.source.tops

    @property
    def thinks(self) -> bool:
        """Whether the source is to compute drafts for the pass to come."""
        if not self.computes:
            return False
        try:
            return bool(getattr(self.source, "thinks", True))
        except Exception as error:  # whatever a drafter does wrong, the text goes on
            self.complain(f"{type(error).__name__}: {error}")
            return False

    @property
    def sketching(self) -> Sketching | None:
        """The variant of the model that drafts, if one does."""
        found = self._said("sketching", None)
        if found is None or isinstance(found, Sketching):
            return found
        self.complain(f"its sketching is {type(found).__name__}, not Sketching")
        return None

    def _said(self, name: str, otherwise: Any) -> Any:
        """What a source says of itself, where it can."""
        try:
            return getattr(self.source, name, otherwise)
        except Exception as error:  # it may have to work that out
            self.complain(f"{type(error).__name__}: {error}")
            return otherwise

    def wakes(self, branches: int, rows: int, own: int) -> bool:
        """Whether the source wants to draft for its `own` branches, and to hear, in a pass of so many."""
        if self._wakes is None:
            return True
        try:
            self.is_asleep = not self._wakes(branches, rows)
            if self.is_asleep and own > 1:
                self.slept(own - 1)
        except Exception as error:  # whatever a drafter does wrong, the text goes on
            self.complain(f"{type(error).__name__}: {error}")
            self.is_asleep = True
        return not self.is_asleep

    def naps(self) -> int:
        """For how many more branches, pass after pass, the source is sure not to wake."""
        if not self.is_asleep or not hasattr(self.source, "naps"):
            return 0
        try:
            return int(self.source.naps())
        except Exception as error:
            self.complain(f"{type(error).__name__}: {error}")
            return 0

    @property
    def hopes(self) -> bool:
        """Whether it may wake one day, be it where others write; without a word of the source it may."""
        return not self.is_asleep or bool(self._said("hopes", True))

    def slept(self, count: int) -> None:
        """So many of these have gone by, unasked."""
        try:
            if count and self._slept is not None:
                self._slept(count)
        except Exception as error:
            self.complain(f"{type(error).__name__}: {error}")

    # ---- before a pass

    def propose(self, stretch: Stretch, room: int) -> Draft | None:
        """A sound draft for the next pass, of at most `room` nodes; None for none."""
        depth = stretch.depth
        if depth < 1 or room < 1:
            return None
        if stretch.proposal is not None or stretch.is_thought:
            draft = stretch.proposal
            return draft if draft is None else self._sound(stretch, draft, depth, MOST_NODES, room)
        began, room = time.perf_counter(), min(room, MOST_NODES)
        draft = self._asked(stretch, depth, room)
        self.tally(draft).seconds += time.perf_counter() - began
        return draft if draft is None else self._sound(stretch, draft, depth, room, room)

    def _asked(self, stretch: Stretch, depth: int, nodes: int) -> Draft | None:
        try:
            return self.source.propose(stretch.tip, depth, nodes)
        except Exception as error:  # whatever a drafter does wrong, the text goes on
            self.complain(f"{type(error).__name__}: {error}")
            return None

    async def think(self, stretch: Stretch) -> None:
        """Ask a source that computes; its draft waits on the stretch for the next pass."""
        draft: Draft | None = None
        try:
            think = self.source.think  # type: ignore[attr-defined]
            draft = await think(stretch.tip, stretch.depth, MOST_NODES)
        except Exception as error:
            self.complain(f"{type(error).__name__}: {error}")
        stretch.proposal = draft

    def _sound(self, stretch: Stretch, draft: Draft, depth: int, asked: int, room: int) -> Draft | None:
        """The first `room` nodes without ends of the text and what is below them; None, with a word on the
        receipt, where the draft is wrong, or has more nodes than were asked for.

        A rule that weighs draws hears of all of them: for it ends stay, and only what is below them goes.
        """
        wrong = self._wrong(draft, asked)
        if wrong:
            self.complain(wrong)
            return None
        if len(draft.tokens) > room:  # it was computed before the pass was known
            draft = draft.keep(range(room))
        ends = stretch.tip.ends
        if len(draft.tokens) <= depth and not self.rule.reads_rows and _is_plain(draft, ends):
            return draft
        kept: list[int] = []
        depths: dict[int, int] = {-1: 0}
        seen: set[tuple[int, int]] = set()  # a rule that weighs draws may want the same one twice
        for node, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
            if parent not in depths or depths[parent] >= depth:
                continue
            if not self.rule.reads_rows and (token in ends or (parent, token) in seen):
                continue
            seen.add((parent, token))
            if token not in ends:
                depths[node] = depths[parent] + 1
            kept.append(node)
        if not kept:
            return None
        return draft if len(kept) == len(draft.tokens) else draft.keep(kept)

    def _wrong(self, draft: Any, room: int) -> str:
        """What is wrong with a draft, if anything."""
        if wrong := flaw(draft, self.studio.vocab, room):
            return wrong
        return unsound(draft, self.studio.vocab) if self.rule.reads_rows and draft.dists else ""

    # ---- after a pass

    def accept(
        self, stretch: Stretch, growth: Growth, drawn: Mapping[int, Drawn]
    ) -> tuple[tuple[int, ...], list[Drawn]]:
        """The accepted path, and what is written: a Drawn for every token."""
        chances = stretch.run.chances
        path, token = self.rule(
            Drawings(drawn), growth.draft, lambda name: chances(stretch.branch.key, name), stretch.position
        )
        at, out = -1, []
        for node, written in [*((n, growth.draft.tokens[n]) for n in path), (-1, token)]:
            out.append(_as_written(drawn[at], written))
            at = node
        tally = self.tally(growth.draft)
        tally.steps += 1
        tally.drafted += len(growth.draft.tokens)
        tally.checked += len(drawn) - 1
        if self.listens:
            self._likely = likely(growth.draft, drawn)
        return path, out

    def observe(self, stretch: Stretch, outcome: Outcome) -> None:
        """Tell the source what was written."""
        self.steps += 1
        self.written += len(outcome.tokens)
        if outcome.draft is not None:
            self.tally(outcome.draft).accepted += len(outcome.path)
            if self.listens:
                before = stretch.count - len(outcome.tokens)
                step = Step(before, outcome.draft, outcome.path, self._likely)
                self.heard.setdefault(stretch, []).append(step)
        try:
            self.source.observe(stretch.tip, outcome)
        except Exception as error:
            self.complain(f"{type(error).__name__}: {error}")

    def end(self, stretch: Stretch) -> None:
        """A stretch has ended."""
        if self.listens:
            steps = self.heard.pop(stretch, [])
            self.run.engine.trace.speculated(stretch.branch, steps, stretch.count)
        is_seen = stretch.is_seen
        if not is_seen and (stretch.reason != "eos" or not self.hopes):
            return  # a part of a text that the source slept through: to tell it takes longer than it is worth
        try:
            self.source.end(stretch.tip)
            if not is_seen:
                return  # it knows as much as before
            remembered = float(getattr(self.source, "state_bytes", 0.0))
        except Exception as error:
            self.complain(f"{type(error).__name__}: {error}")
            return
        tally = self.tally(None)
        tally.state_bytes = max(tally.state_bytes, remembered)

    # ---- books

    def tally(self, draft: Draft | None) -> Drafting:
        """The tally of the drafter that made a draft."""
        by = draft.by if isinstance(draft, Draft) else ""
        name = (by if isinstance(by, str) else "") or self.source.name
        if name not in self.tallies:
            self.tallies[name] = Drafting(is_warm=self.is_warm or bool(self._said("is_warm", False)))
        return self.tallies[name]

    def books(self) -> dict[str, Drafting]:
        """A copy of every tally; those of a drafting model's own drafter under both names."""
        if not self.tallies:
            self.tally(None)
        found = {name: replace(tally) for name, tally in self.tallies.items()}
        for name, tally in self.inner.books().items() if self.inner else ():
            found[f"{self.source.name}/{name}"] = tally
        return found

    def tokens_a_step(self, written: int) -> float:
        """Of all that the run has written: a step that nobody heard of, while the source slept, wrote one."""
        unheard = max(0, written - self.written)
        return (self.written + unheard) / max(1, self.steps + unheard) if self.written or unheard else 1.0

    def complain(self, what: str, name: str = "") -> None:
        """A draft was lost, of this source or of the one of that name among its own: said once."""
        self.run.degrade(f"drafter {name or self.source.name}", f"went on without its draft: {what}")


def _is_plain(draft: Draft, ends: frozenset[int]) -> bool:
    """Whether nothing of a draft is beyond an end of the text, or there twice: most are."""
    tokens = draft.tokens
    return bool(tokens) and ends.isdisjoint(tokens) and len(set(zip(draft.parents, tokens))) == len(tokens)  # noqa: B905


def _as_written(drawn: Drawn, token: int) -> Drawn:
    """What was drawn at a node, with the token that a rule wrote there instead."""
    if drawn.token == token:
        return drawn
    assert drawn.rows is not None, "only a rule that reads rows writes other tokens"
    return Drawn(token, float(drawn.rows[0][token]), drawn.stats)


def open_chance(key: int, name: str) -> Chance:
    """The chance of one purpose of an accept rule on a branch."""
    from outthink.core import rng

    return Chance(rng.purpose(key, f"speculate:{name}"))
