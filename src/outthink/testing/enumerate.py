"""Every possible run of a strategy on a toy model, with its probability.

    for each sequence of choices, depth first:
        run the strategy; at each draw follow the sequence, beyond its end take the first token that has
        probability multiply the probabilities of what was chosen

Draws see the warped distribution itself, no noise: what comes out is exact. Sampling's own chance (Gumbel
noise) is tested apart, against that same distribution. A strategy's own chance (draw, subset, flip, allot) is
enumerated in the same way; `uniform` has too many outcomes and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar
from unittest.mock import patch

import torch

from outthink.core import rng
from outthink.core.branch import Branch
from outthink.core.errors import Misuse
from outthink.core.jobs import Draw, Drawn
from outthink.core.types import Answer
from outthink.decode.sample import warp
from outthink.engine.engine import Engine
from outthink.engine.request import Request

Key = TypeVar("Key", bound=Hashable)


class Oracle:
    """Replays a sequence of choices and goes on with the first possible one; remembers what else was
    possible."""

    def __init__(self, script: Sequence[int]) -> None:
        self.script = list(script)
        self.taken: list[int] = []
        self.options: list[list[int]] = []
        self.probability = 1.0
        self.told: dict[tuple[Any, ...], Any] = {}  # what a strategy's chance has said, by its key

    def choose(self, probs: Sequence[float]) -> int:
        """One index that has probability."""
        alive = [i for i, p in enumerate(probs) if p > 0]
        at = len(self.taken)
        choice = self.script[at] if at < len(self.script) else alive[0]
        self.taken.append(choice)
        self.options.append(alive)
        self.probability *= probs[choice]
        return choice

    def next_script(self) -> list[int] | None:
        """The next sequence, depth first; None after the last."""
        for at in reversed(range(len(self.taken))):
            later = [o for o in self.options[at] if o > self.taken[at]]
            if later:
                return [*self.taken[:at], later[0]]
        return None

    def draw(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        """In place of `decode.sample.draw`."""
        return [self._one(logits, d) for d in draws]

    def _one(self, logits: torch.Tensor, d: Draw) -> Drawn:
        row = logits[d.row : d.row + 1]
        warped = warp(row, d.sampling, [d.states])
        if d.sampling.temperature == 0:
            token = int(warped.argmax())
        else:
            token = self.choose(warped.softmax(-1)[0].tolist())
        logp = float(row.log_softmax(-1)[0, token])
        return Drawn(token, logp, tuple(math.nan for _ in d.sampling.stats))


class ScriptedChance:
    """In place of `core.rng.Chance`: the same verbs, answered by an oracle; the same key, the same answer."""

    def __init__(self, oracle: Oracle, key: int) -> None:
        self.oracle = oracle
        self.key = key

    def draw(self, logw: Sequence[float], index: int = 0) -> int:
        return self.subset(logw, 1, index)[0]

    def subset(self, logw: Sequence[float], k: int, index: int = 0) -> list[int]:
        """k items, one after the other, each by its share of what is left."""
        left, taken = list(logw), []
        for rank in range(k):
            taken.append(self._one((index, rank), _shares(left)))
            left[taken[-1]] = -math.inf
        return taken

    def flip(self, p: float, index: int = 0, item: int = 0) -> bool:
        return bool(self._one((index, item), [1 - p, p]))

    def allot(self, logw: Sequence[float], n: int, index: int = 0) -> list[int]:
        """The counts of every interval of the one point that they depend on."""
        edges, total = [0.0, 1.0], 0.0
        for share in _shares(logw):
            total += share * n
            edges.append(total % 1.0)
        edges.sort()
        spans = [
            high - low if high - low > 1e-12 else 0.0 for low, high in zip(edges, edges[1:], strict=False)
        ]
        at = self._one((index,), spans)
        return rng.systematic(logw, n, (edges[at] + edges[at + 1]) / 2)

    def uniform(self, index: int = 0, item: int = 0) -> float:
        raise Misuse("a uniform number cannot be enumerated: use draw, subset, flip or allot")

    def _one(self, what: tuple[int, ...], probs: Sequence[float]) -> int:
        key = (self.key, *what, *probs)
        if key not in self.oracle.told:
            self.oracle.told[key] = self.oracle.choose(probs)
        found: int = self.oracle.told[key]
        return found


def _chance_of(oracle: Oracle) -> Callable[[Branch, str], ScriptedChance]:
    def chance(branch: Branch, purpose: str) -> ScriptedChance:
        return ScriptedChance(oracle, rng.purpose(branch.key, "strategy:" + purpose))

    return chance


def _shares(logw: Sequence[float]) -> list[float]:
    top = max(logw)
    weights = [math.exp(w - top) for w in logw]
    return [w / sum(weights) for w in weights]


def enumerate_runs(
    backend: Callable[[], Any],
    request: Request,
    outcome: Callable[[Answer], Key],
    most: int = 100_000,
    max_batch: int = 64,
) -> dict[Key, float]:
    """The exact distribution of `outcome(answer)`. Raises ValueError after `most` runs."""
    found: dict[Key, float] = {}
    script: list[int] | None = []
    for _ in range(most):
        assert script is not None
        oracle = Oracle(script)
        local = backend()
        local.draw = oracle.draw
        with patch.object(Branch, "chance", _chance_of(oracle)):
            answer = Engine(local, slots=512, max_batch=max_batch).run(request)
        key = outcome(answer)
        found[key] = found.get(key, 0.0) + oracle.probability
        script = oracle.next_script()
        if script is None:
            return found
    raise ValueError(f"more than {most} runs: use a smaller model, fewer samples or fewer tokens")
