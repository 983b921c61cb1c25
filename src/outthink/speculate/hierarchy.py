"""Hierarchy: ask several drafters, from the most local to the least, until the draft is full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from outthink.core.draft import Draft
from outthink.core.drafting import Drafter, Outcome, Source, Studio, Tip
from outthink.core.errors import BadInput
from outthink.spec import show
from outthink.speculate._guard import Guard
from outthink.speculate._overlay import Overlay
from outthink.speculate._rates import written_draft
from outthink.speculate.consensus import Consensus
from outthink.speculate.copy import Copy
from outthink.speculate.stand import Stand


@dataclass(frozen=True)
class Hierarchy:
    """Merge the drafts of several sources, the most local first; each hears what became of its own.

        for each source, from the text itself to the whole run to files: add its nodes while there is room

    A source that fails costs its own nodes; the receipt names it once.

    The paper's three databases are of the context, of what the model wrote, and of a corpus: `copy`, `stand`
    and, where there is a file, `store`. Cho et al., "Lossless Acceleration of Large Language Models with
    Hierarchical Drafting based on Temporal Locality in Speculative Decoding".
    """

    drafters: tuple[Drafter, ...] = (Copy(n=6), Consensus(n=8), Stand(n=8))
    n: int = 16

    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.n < 1 or not self.drafters:
            raise ValueError("give at least one drafter, and n of at least 1")

    def open(self, studio: Studio) -> HierarchySource:
        return HierarchySource(self, studio)


class HierarchySource:
    """The sources in their order."""

    name = "hierarchy"

    def __init__(self, config: Hierarchy, studio: Studio) -> None:
        self.n = config.n
        self.sources: list[Source] = [Guard(drafter.open(studio), studio) for drafter in config.drafters]
        for source in self.sources:
            if hasattr(source, "think") or hasattr(source, "sketching"):
                raise BadInput(f"hierarchy: {source.name} computes its drafts: give drafters that look up")
        self.tops = max(source.tops for source in self.sources)

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        room = min(self.n, nodes)
        merged, drafts = Overlay(room), []
        for source in self.sources:
            draft = source.propose(tip, depth, room) if len(merged.tokens) < room else None
            if draft is not None:
                merged.add(draft)
            drafts.append(draft)
        tip.local[self] = drafts
        givers = [draft for draft in drafts if draft is not None]
        if len(givers) < 2:
            return givers[0] if givers else None
        return merged.draft(self.name)

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        drafts = tip.local.pop(self, None) or [None] * len(self.sources)
        for source, draft in zip(self.sources, drafts, strict=True):
            source.observe(tip, _own(outcome, draft))

    def end(self, tip: Tip) -> None:
        for source in self.sources:
            source.end(tip)

    @property
    def is_warm(self) -> bool:
        return any(bool(getattr(source, "is_warm", False)) for source in self.sources)

    @property
    def state_bytes(self) -> float:
        return sum(float(getattr(source, "state_bytes", 0.0)) for source in self.sources)


def _own(outcome: Outcome, draft: Draft | None) -> Outcome:
    """An outcome as the source of `draft` would have seen it, had only its own nodes been checked."""
    merged = outcome.draft
    if draft is None or merged is None or draft is merged:
        return outcome
    place = {(p, t): i for i, (t, p) in enumerate(zip(draft.tokens, draft.parents, strict=True))}
    mine: dict[int, int] = {-1: -1}
    for node, (token, parent) in enumerate(zip(merged.tokens, merged.parents, strict=True)):
        if parent in mine and (mine[parent], token) in place:
            mine[node] = place[mine[parent], token]
    drawn: Mapping[int, int] = {mine[i]: token for i, token in outcome.drawn.items() if i in mine}
    tops = {mine[i]: top for i, top in outcome.tops.items() if i in mine}
    return Outcome(draft, drawn, written_draft(outcome, mine), outcome.tokens, tops, outcome.rows)
