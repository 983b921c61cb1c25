"""The rows of a draft are planned in time that grows with its size, not with the square of it."""

from __future__ import annotations

import pytest
from drafters import Asking
from scripted import told

from outthink.backends.toy import hashed, toy
from outthink.core.draft import Draft
from outthink.core.types import Sampling
from outthink.engine import admission
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy.once import Once

SAMPLING = Sampling(max_tokens=80, ignore_eos=True)


def looked_at(size: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Ranges looked through for a drafted node, in drafts that are chains of so many."""
    ranges: list[int] = []
    beyond = admission._beyond

    def counting(found: list[tuple[int, int]], low: int, high: int) -> int:
        ranges.append(len(found))
        return beyond(found, low, high)

    monkeypatch.setattr(admission, "_beyond", counting)
    drafter = Asking(lambda tip, depth, nodes: Draft.chain([1] * min(size, depth, nodes)))
    request = Request(Once(), "abc", sampling=SAMPLING, speculate=drafter)
    answer = Engine(toy(hashed(4), context=128)).run(request)
    plain = Engine(toy(hashed(4), context=128)).run(Request(Once(), "abc", sampling=SAMPLING))
    assert told(answer) == told(plain) and answer.receipt is not None
    monkeypatch.undo()
    return sum(ranges) / sum(tally.checked for tally in answer.receipt.speculation.values())


def test_a_node_more_costs_the_same_in_a_long_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [looked_at(size, monkeypatch) for size in (4, 16, 60)]
    assert max(looks) <= 4, looks
