"""Wider or deeper: treequest's AB-MCTS-A and `ab_mcts` on the same scripted scores."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmarks.report import Section, Target
from outthink.strategy._steps import Node
from outthink.strategy.ab_mcts import AbMcts

INTRODUCTION = """The policy alone, one node at a time, {simulations} nodes, {trees} trees each. Every node's
score is scripted: a child's is its parent's plus a draw around 0.02 (0.5 at the root), clipped to [0, 1],
the same law for both. Means with standard errors; *difference*: of the means, in standard errors.
*Seconds*: a decision and its score; treequest's `step` copies the tree each time, *in place* does not."""


@dataclass
class Shape:
    """What became of a tree."""

    width: int  # children of the root
    depth: int  # of the deepest node
    best: float
    seconds: float  # a node


@dataclass
class Scorer:
    """The score of a child, drawn anew each time."""

    rng: random.Random = field(default_factory=random.Random)

    def __call__(self, parent: float | None) -> float:
        base = 0.5 if parent is None else parent
        return min(1.0, max(0.0, base + self.rng.gauss(0.02, 0.15)))


class Nobody:
    """A verifier that is never called."""

    records = ()


def here(posterior: str, simulations: int, seed: int) -> Shape:
    """A tree of `ab_mcts`: its walk, with scripted children."""
    part = AbMcts(Nobody(), posterior=posterior)  # type: ignore[arg-type]
    score, rng = Scorer(random.Random(seed)), random.Random(seed + 10**6)
    root = Node(None)  # type: ignore[arg-type]
    depths: Counter[int] = Counter()
    levels, best = {id(root): 0}, 0.0
    began = time.perf_counter()
    for _ in range(simulations):
        parent = list(part.walk(root, rng))[-1]
        child = Node(None, parent=parent, score=score(None if parent is root else parent.score))  # type: ignore[arg-type]
        parent.children.append(child)
        levels[id(child)] = levels[id(parent)] + 1
        best = max(best, child.score)
    seconds = (time.perf_counter() - began) / simulations
    depths.update(levels.values())
    return Shape(len(root.children), max(depths), best, seconds)


def there(posterior: str, simulations: int, seed: int, in_place: bool) -> Shape:
    """A tree of treequest."""
    from treequest import ABMCTSA

    score = Scorer(random.Random(seed))
    np.random.seed(seed)

    def generate(parent: float | None) -> tuple[float, float]:
        made = score(parent)
        return made, made

    algorithm: Any = ABMCTSA(dist_type=posterior)
    state = algorithm.init_tree()
    began = time.perf_counter()
    for _ in range(simulations):
        state = algorithm.step(state, {"write": generate}, inplace=in_place)
    seconds = (time.perf_counter() - began) / simulations
    nodes = state.tree.get_nodes()
    best = max(node.score for node in nodes if node.parent is not None)
    return Shape(len(state.tree.root.children), max(map(_depth, nodes)), best, seconds)


def _depth(node: Any) -> int:
    depth = 0
    while node.parent is not None:
        node, depth = node.parent, depth + 1
    return depth


def measure(model: str, quick: bool) -> list[Section]:
    """The shapes of the trees, how good their best nodes are, and what a decision takes."""
    simulations, trees = (8, 16) if quick else (32, 300)
    section = Section(
        "treequest: AB-MCTS-A",
        ["posterior", "", "width at the root", "depth", "best score", "seconds a node"],
        before=[INTRODUCTION.format(simulations=simulations, trees=trees)],
    )
    for posterior in ("beta", "gaussian"):
        ours = [here(posterior, simulations, seed) for seed in range(trees)]
        theirs = [there(posterior, simulations, seed, True) for seed in range(10**4, 10**4 + trees)]
        copied = [there(posterior, simulations, seed, False) for seed in range(trees // 8)]
        for name, shapes in (("outthink", ours), ("treequest, in place", theirs), ("treequest", copied)):
            cells = [_mean([getattr(s, what) for s in shapes]) for what in ("width", "depth", "best")]
            middle = sorted(s.seconds for s in shapes)[len(shapes) // 2]
            section.rows.append([posterior, name, *cells, f"{middle * 1e6:.0f} us"])
        for what in ("width", "depth", "best"):
            apart = _apart([getattr(s, what) for s in ours], [getattr(s, what) for s in theirs])
            title = f"AB-MCTS-A ({posterior}), {what}: difference in standard errors"
            section.targets.append(Target(title, apart, 3.5, at_least=False))
    return [section]


def _mean(values: Sequence[float]) -> str:
    return f"{fmean(values):.3f} +- {stdev(values) / math.sqrt(len(values)):.3f}"


def _apart(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The difference of two means over its standard error."""
    error = math.sqrt(stdev(ours) ** 2 / len(ours) + stdev(theirs) ** 2 / len(theirs))
    return abs(fmean(ours) - fmean(theirs)) / error if error else 0.0
