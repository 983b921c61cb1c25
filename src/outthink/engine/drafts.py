"""Drafts for one pass: ask every branch's drafter, choose over the batch, grow what is chosen in the tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from outthink.core.draft import Draft
from outthink.core.drafting import Sketching
from outthink.core.tree import Node
from outthink.engine.choice import choose
from outthink.engine.growth import Growth
from outthink.engine.sketch import sketch
from outthink.engine.stretch import Stretch

if TYPE_CHECKING:
    from outthink.engine.flight import Work
    from outthink.engine.place import Place
    from outthink.engine.speculator import Speculator


def draft(works: Sequence[Work], place: Place, rows: int = 0) -> list[Stretch]:
    """The stretches among `works` that have a draft in the tree now, rows to be planned.

    Sources say how sure they are; where the drafter is choosy the pass takes the nodes that pay. `rows` are
    in the pass without drafts, if that is known. Nobody is asked in a lull.
    """
    lull = place.lull
    if lull.goes_on():
        return []
    count = min(len(works), place.max_batch)
    own: dict[Speculator, int] = {}  # and how many branches each has
    for work in works[:count]:
        if isinstance(work, Stretch) and work.speculator is not None:
            own[work.speculator] = own.get(work.speculator, 0) + 1
    if not own:
        lull.is_silent = len(works) == len(place.works)
        return []
    missed = lull.over()
    for speculator, branches in own.items() if missed else ():
        speculator.slept(missed * branches)
    rows = rows or distinct(works[:count])
    awake = [speculator for speculator, branches in own.items() if speculator.wakes(count, rows, branches)]
    asked = [w for w in works[:count] if isinstance(w, Stretch) and w.speculator in awake] if awake else []
    if not asked:
        if not any(s.hopes for s in own) and not any(map(_is_awake, place.works)):
            lull.begin(place.curve().plain(rows))
        return []
    room = place.max_rows - len(works)
    began = place.clock()
    proposals = _proposed(asked, room, place)
    place.asking += place.clock() - began
    if any(d.conf and s.speculator and s.speculator.is_choosy for s, d in proposals):
        proposals = _chosen(proposals, works, room, place)
    for stretch, proposal in proposals:
        assert stretch.speculator is not None
        speculator = stretch.speculator
        stretch.growth = Growth(stretch, proposal, speculator.rule.reads_rows or speculator.listens)
    return [stretch for stretch, _ in proposals]


def _is_awake(work: Work) -> bool:
    """Whether somebody who is awake drafts for it."""
    return isinstance(work, Stretch) and work.speculator is not None and not work.speculator.is_asleep


def distinct(works: Sequence[Work]) -> int:
    """The rows of a pass of these without drafts, where branches that write the same share one.

    Who is behind another on its way counts with it: without drafts they would walk together.
    """
    nodes = {work.branch.cursor.node for work in works}
    passed: set[Node] = set()
    for node in nodes:
        above = node.parent if len(nodes) > 1 else None
        while above is not None and above not in passed:
            passed.add(above)
            above = above.parent
    return len(nodes - passed)


def _tip(work: Work) -> tuple[Node, int]:
    """Where a branch is: the same for all that wrote the same."""
    cursor = work.branch.cursor
    return cursor.node, cursor.offset


def _proposed(asked: Sequence[Stretch], room: int, place: Place) -> list[tuple[Stretch, Draft]]:
    """What their drafters propose."""
    _sketch(asked, place)
    proposals: list[tuple[Stretch, Draft]] = []
    for stretch in asked:
        assert stretch.speculator is not None
        proposal = stretch.speculator.propose(stretch, room)
        if proposal is not None:
            proposals.append((stretch, proposal))
    return proposals


def _sketch(asked: Sequence[Stretch], place: Place) -> None:
    """Let variants of the model draft for those whose drafter is one, all of a kind at once."""
    kinds: dict[Sketching, list[Stretch]] = {}
    for stretch in asked:
        assert stretch.speculator is not None
        if stretch.speculator.sketching is not None and stretch.proposal is None:
            kinds.setdefault(stretch.speculator.sketching, []).append(stretch)
    for kind, stretches in kinds.items():
        count = min(kind.n, max(1, (place.max_rows - len(asked)) // len(asked)))
        try:
            drafts = sketch(place, stretches, count, kind.variant, kind.least, kind.name)
        except Exception as error:  # a drafter's error costs the draft
            for stretch in stretches:
                stretch.speculator.complain(f"{type(error).__name__}: {error}")  # type: ignore[union-attr]
            continue
        for stretch, made in drafts.items():
            stretch.proposal = made


def _chosen(
    proposals: list[tuple[Stretch, Draft]], works: Sequence[Work], room: int, place: Place
) -> list[tuple[Stretch, Draft]]:
    """The proposals cut to what pays; those of drafters that are not choosy stay whole."""
    choosy = [i for i, (s, d) in enumerate(proposals) if d.conf and s.speculator and s.speculator.is_choosy]
    whole = sum(len(d.tokens) for _, d in proposals) - sum(len(proposals[i][1].tokens) for i in choosy)
    drafts, tips = [proposals[i][1] for i in choosy], [_tip(proposals[i][0]) for i in choosy]
    rows = len(set(map(_tip, works))) + whole
    cut = choose(drafts, tips, len(works), rows, room - whole, place.curve())
    kept = dict(enumerate(d for _, d in proposals)) | dict(zip(choosy, cut, strict=True))
    return [(s, kept[i]) for i, (s, _) in enumerate(proposals) if kept[i].tokens]
