"""AB-MCTS: wider or deeper, by Thompson sampling."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.protocols import Verifier
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._search import Search, foresee
from outthink.strategy._steps import Node, check_counts

Posterior = Callable[[random.Random], float]  # draws a mean


def beta(scores: Sequence[float]) -> Posterior:
    """The mean of scores in [0, 1], after a Beta(1/2, 1/2) prior."""
    good = math.fsum(scores)
    alpha, beta = 0.5 + good, 0.5 + len(scores) - good

    def drawn(rng: random.Random) -> float:
        one = rng.gammavariate(alpha, 1.0)
        return one / (one + rng.gammavariate(beta, 1.0)) if one else 0.0

    return drawn


def gaussian(scores: Sequence[float]) -> Posterior:
    """The mean of normal scores after a normal-inverse-gamma prior: mean 0 and variance 0.1, each worth one
    observation."""
    n = len(scores)
    mean = math.fsum(scores) / n if n else 0.0
    spread = math.fsum((score - mean) ** 2 for score in scores)
    scale = (0.1 + spread + n * mean * mean / (n + 1)) / 2

    def drawn(rng: random.Random) -> float:
        precision = rng.gammavariate((1 + n) / 2, 1 / scale)
        return rng.gauss(n * mean / (n + 1), 1 / math.sqrt(precision * (n + 1)))

    return drawn


LARGEST = 1e100  # scores whose squares are numbers
Below = dict[Node, list[float]]


class View(NamedTuple):
    """What a walk draws from at a node."""

    wider: Posterior
    deeper: Posterior
    goes_on: list[Node]  # its open children
    through: list[Posterior]  # of each of them


@dataclass(frozen=True)
class Views:
    """What walks over the same tree have seen."""

    at: dict[Node, View] = field(default_factory=dict)
    below: Below = field(default_factory=dict)


POSTERIORS = {"beta": beta, "gaussian": gaussian}


@dataclass(frozen=True)
class AbMcts:
    """At every node Thompson sampling decides between a new child (wider) and an old one (deeper).

    repeat `simulations` times:
        node = root
        while node has open children:
            wider  ~ posterior(scores of its children)
            deeper ~ posterior(scores of all below its children)
            if wider >= deeper: break
            node = the open child with the highest draw from posterior(scores of it and all below it)
        write one more next step of the node, and a solution below it to the end; judge that

    The score of a step is that of the solution written with it, so a search that only widens at the root is
    repeated sampling. With rollout=False the step itself is judged, once for equal texts below one parent;
    its score counts as often as it was written.

    Posteriors are Beta(1/2, 1/2) for scores in [0, 1], or normal for any finite ones; no word (-inf) tells
    them nothing, BadInput for others. `wave` simulations draw their walks at a time, from what is known
    before it. Ended solutions are not walked to. Inoue et al., "Wider or Deeper? Scaling LLM Inference-Time
    Compute with Adaptive Branching Tree Search", arXiv 2503.04412
    (AB-MCTS-A); there a node is a whole answer and going deeper revises it, here going deeper keeps its first
    steps.
    """

    verifier: Verifier
    simulations: int = 32
    wave: int = 4
    posterior: str = "beta"
    rollout: bool = True
    step: str = "\n"
    step_tokens: int = 64

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_counts(self, "simulations", "wave")
        if self.posterior not in POSTERIORS:
            raise ValueError(f"posterior={self.posterior!r}: give 'beta' or 'gaussian'")

    async def __call__(self, root: Branch, /) -> Answer:
        search = Search(root, self)
        if self.rollout:
            search.value = lambda nodes: foresee(search, nodes, most=None)
        with search.within():
            for start in range(0, self.simulations, self.wave):
                numbers = range(start, min(start + self.wave, self.simulations))
                views = Views()  # nothing is written between the walks of a wave
                walks = [list(self.walk(search.root, _random(root, number), views)) for number in numbers]
                plan = [(walk[-1], 1) for walk in walks]
                for child in await search.grow(plan, merge=not self.rollout):
                    self._check(child)
        return await search.conclude()

    def walk(self, root: Node, rng: random.Random, views: Views | None = None) -> Iterator[Node]:
        """The nodes from the root down to the one that gets a new child; `views` is what walks over the same
        tree have seen at its nodes."""
        node, views = root, views or Views()
        yield node
        while True:
            view = views.at.get(node)
            if view is None:
                view = views.at[node] = self._view(node, views.below)
            if not view.goes_on or view.wider(rng) >= view.deeper(rng):
                return
            drawn = [through(rng) for through in view.through]
            node = view.goes_on[drawn.index(max(drawn))]
            yield node

    def _view(self, node: Node, known: Below) -> View:
        posterior, children = POSTERIORS[self.posterior], node.children
        goes_on = [child for child in children if not child.ended]
        return View(
            posterior([s for child in children for s in _own(child)]),
            posterior([s for child in children for s in _below(child, known)]),
            goes_on,
            [posterior(_own(child) + _below(child, known)) for child in goes_on],
        )

    def _check(self, node: Node) -> None:
        low, high = (0.0, 1.0) if self.posterior == "beta" else (-LARGEST, LARGEST)
        if not (low <= node.score <= high or node.score == -math.inf):
            hint = "use posterior='gaussian'" if self.posterior == "beta" else "it must be finite"
            raise BadInput(
                f"ab_mcts(): {self.verifier!r} gave {node.score}, not from {low} to {high}; {hint}"
            )


def _own(node: Node) -> list[float]:
    """The score of a node, as often as it was written: each time, this is what widening gave. No word (-inf)
    is none."""
    return [] if node.score == -math.inf else [node.score] * node.count


def _below(node: Node, known: Below) -> list[float]:
    """The scores of all below a node."""
    order = [node]
    for at in order:  # those above come first, and the list grows: texts may have thousands of steps
        if at not in known:
            order += at.children
    for at in reversed(order):
        if at not in known:
            known[at] = [score for child in at.children for score in (*_own(child), *known[child])]
    return known[node]


def _random(root: Branch, number: int) -> random.Random:
    """Draws of one simulation: a function of seed, branch and number."""
    return random.Random(root.chance("thompson").uniform(index=number))
