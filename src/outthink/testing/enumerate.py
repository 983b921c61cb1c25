"""Every possible run of a strategy on a toy model, with its probability.

    for each sequence of choices, depth first:
        run the strategy; at each draw follow the sequence, beyond its end take the first token that has
        probability multiply the probabilities of what was chosen

Draws see the warped distribution itself, no noise: what comes out is exact. Sampling's own chance (Gumbel
noise) is tested apart, against that same distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch

from outthink.core.jobs import Draw, Drawn
from outthink.core.types import Answer
from outthink.decode.sample import warp
from outthink.decode.statistics import statistics
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
        return Drawn(token, logp, statistics(row, d.sampling.stats)[0] if d.sampling.stats else ())


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
        answer = Engine(local, slots=512, max_batch=max_batch).run(request)
        key = outcome(answer)
        found[key] = found.get(key, 0.0) + oracle.probability
        script = oracle.next_script()
        if script is None:
            return found
    raise ValueError(f"more than {most} runs: use a smaller model, fewer samples or fewer tokens")
