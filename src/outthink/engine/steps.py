"""What became of one checked draft, for those who listen (`Trace.speculated`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from outthink.core.draft import Draft
from outthink.core.jobs import Drawn

Likely = Mapping[int, Mapping[int, float]]  # checked node (-1: the tip) -> token -> its log-probability there


class Step(NamedTuple):
    """One checked draft.

    `likely` has every node that was checked, and the tip, with the tokens that the model holds likeliest
    there, as many as nodes were checked, and those that were drafted below: log-probabilities of the draw.
    """

    written: int  # tokens of the stretch before it
    draft: Draft
    path: tuple[int, ...]  # the nodes that were written
    likely: Likely


def likely(draft: Draft, drawn: Mapping[int, Drawn]) -> Likely:
    """What a step keeps of the distributions at the nodes of a draft."""
    most = max(1, len(drawn) - 1)
    below: dict[int, list[int]] = {}
    for node, parent in enumerate(draft.parents):
        if node in drawn:
            below.setdefault(parent, []).append(draft.tokens[node])
    return {node: _reduced(one.rows, most, below.get(node, [])) for node, one in drawn.items()}


def _reduced(rows: tuple[Any, Any] | None, most: int, tokens: list[int]) -> dict[int, float]:
    assert rows is not None, "whole rows were not asked for"
    last = rows[1]
    best = np.argpartition(-last, min(most, len(last)) - 1)[:most].tolist()
    return {token: float(last[token]) for token in (*best, *tokens) if last[token] > -np.inf}
