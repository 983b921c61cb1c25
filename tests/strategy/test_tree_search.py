"""Monte Carlo tree searches: visit counts and values known by hand, formulas, and what a walk is drawn from."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest
from golden import LEAVES, MANY, VALUES, Told, nodes, run, searches

from outthink.core.errors import BadInput
from outthink.strategy import AbMcts, Mcts
from outthink.strategy._steps import Node
from outthink.strategy.ab_mcts import POSTERIORS, beta, gaussian
from outthink.strategy.mcts import backup, puct, uct

__all__ = ["searches"]
TOP, BELOW_A, BELOW_B = ["a\n", "b\n"], ["a\nc\n", "a\nd\n"], ["b\nc\n", "b\nd\n"]


def pair(text: str) -> list[str]:
    return [text + "x", text + "y"]


def table(root: Node) -> dict[str, tuple[int, float]]:
    return {node.text: (node.visits, round(node.total, 6)) for node in nodes(root)}


class Place:
    """As much of a branch as a node needs here."""

    def __init__(self, *path: int) -> None:
        self.path = path


def stub(visits: int, total: float, logprob: float = 0.0, place: int = 0) -> Node:
    return Node(Place(place), visits=visits, total=total, logprob=logprob)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- mcts


def test_uct_by_hand() -> None:
    assert uct(stub(10, 0.0), stub(4, 2.0), 2.0) == pytest.approx(0.5 + 2 * math.sqrt(math.log(10) / 4))
    assert uct(stub(10, 0.0), stub(4, 2.0), 0.0) == 0.5


def test_puct_by_hand() -> None:
    parent, children = stub(9, 0.0), [stub(2, 1.0, math.log(0.3)), stub(5, 4.0, math.log(0.1))]
    parent.children = children
    assert puct(parent, children[0], 2.0) == pytest.approx(0.5 + 2 * 0.75 * 3 / 3)
    assert puct(parent, children[1], 2.0) == pytest.approx(0.8 + 2 * 0.25 * 3 / 6)


def test_a_backup_reaches_the_root() -> None:
    root, middle, leaf = stub(0, 0.0), stub(1, 0.5), stub(0, 0.0)
    middle.parent, leaf.parent = root, middle
    backup(leaf, 0.25)
    backup(leaf, 0.5)
    assert [(n.visits, n.total) for n in (root, middle, leaf)] == [(2, 0.75), (3, 1.25), (2, 0.75)]


def test_uct_expands_and_counts_as_by_hand(searches: list[Any]) -> None:
    """c=1. 1: root. 2: a .6 > b .5, both seen once. 3: a 1.3/3 + sqrt(ln4/3) = 1.11, b .5 + sqrt(ln4) = 1.68.
    4: both three times: a .43, b 1.6/3 = .53: b, there bc. 5: a .43 + sqrt(ln8/3) = 1.27, b 3.1/5 + sqrt(ln8/5)
    = 1.26: a, there ac. 6: a 1.6/5 = .32, b .62: b, of which only bd is open. 7: a alone is open, and ad in it.
    """
    verifier = Told()
    found = run(Mcts(verifier, simulations=5, expand=MANY))
    assert verifier.log == [TOP, BELOW_A, BELOW_B, pair("b\nc\n"), pair("a\nc\n")]
    assert table(searches[0].root) == {
        "": (10, 6.3 - 1.4 + 0.5 - 0.6 + 0.3 + 0.5 - 0.3 + 0.1 - 0.2 + 0.3 - 0.5 + 0.3),
        "a\n": (5, 1.6),
        "b\n": (5, 3.1),
        "a\nc\n": (3, 0.7),
        "a\nd\n": (1, 0.3),
        "b\nc\n": (3, 2.4),
        "b\nd\n": (1, 0.2),
        "a\nc\nx": (1, 0.1),
        "a\nc\ny": (1, 0.2),
        "b\nc\nx": (1, 0.8),
        "b\nc\ny": (1, 0.7),
    }
    assert (found.text, found.score) == ("b\nc\nx", 0.8)
