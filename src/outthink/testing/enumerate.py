"""Every possible run of a strategy on a toy model, with its probability.

    for each sequence of choices, depth first:
        run the strategy; at each draw follow the sequence, beyond its end take the first token that has
        probability multiply the probabilities of what was chosen

Draws see the warped distribution itself, no noise: what comes out is exact. Sampling's own chance (Gumbel
noise) is tested apart, against that same distribution. The chance of drafters and accept rules (`draw`,
`subset`, `flip`) is enumerated in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from outthink.core.jobs import Draw, Drawn
from outthink.core.rng import Chance
from outthink.core.types import Answer
from outthink.decode.sample import draw, warp
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
        self.asked: dict[Any, tuple[str, tuple[float, ...], int]] = {}  # what keyed chance has answered

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
        if d.is_whole:  # the rule draws by chance of its own from the rows; the token is nobody's
            return draw(row, [d._replace(row=0)])[0]
        warped = warp(row, d.sampling, [d.states])
        if d.sampling.temperature == 0:
            token = int(warped.argmax())
        else:
            token = self.choose(warped.softmax(-1)[0].tolist())
        logp = float(row.log_softmax(-1)[0, token])
        return Drawn(token, logp, tuple(math.nan for _ in d.sampling.stats))

    def chance(self, key: int, name: str) -> OracleChance:
        """In place of `Engine.chances`."""
        return OracleChance(key, self, name)


@dataclass(frozen=True, slots=True)
class OracleChance(Chance):
    """The verbs of chance, with every outcome in its turn. The same call has the same outcome, as it has in
    keyed chance; another call with the same numbers would not be independent, and is refused."""

    oracle: Oracle
    name: str

    def flip(self, p: float, index: int = 0, item: int = 0) -> bool:
        return self._ask("flip", (min(max(1 - p, 0.0), 1.0), min(max(p, 0.0), 1.0)), index, item) == 1

    def subset(self, logw: Sequence[float], k: int, index: int = 0) -> list[int]:
        """Gumbel top-k is one draw after another without replacement."""
        weights = [math.exp(w) for w in logw]
        taken: list[int] = []
        if sum(w > 0 for w in weights) < k:
            raise ValueError(f"{k} items asked for, fewer have weight")
        for _ in range(k):
            total = math.fsum(weights)
            shares = tuple(w / total for w in weights)
            taken.append(self._ask("subset", shares, index, len(taken)))
            weights[taken[-1]] = 0.0
        return taken

    def uniform(self, index: int = 0, item: int = 0) -> float:
        raise ValueError("a uniform number cannot be enumerated: use flip or draw")

    def allot(self, logw: Sequence[float], n: int, index: int = 0) -> list[int]:
        raise ValueError("systematic resampling cannot be enumerated: use flip or draw")

    def _ask(self, verb: str, shares: tuple[float, ...], index: int, item: int) -> int:
        oracle, place = self.oracle, (self.key, self.name, index, item)
        if place not in oracle.asked:
            oracle.asked[place] = (verb, shares, oracle.choose(shares))
        was = oracle.asked[place]
        if was[:2] != (verb, shares):
            raise AssertionError(f"chance {self.name!r} is used twice at index {index}, item {item}")
        return was[2]


def enumerate_runs(
    backend: Callable[[], Any],
    request: Request,
    outcome: Callable[[Answer], Key],
    most: int = 100_000,
    max_batch: int = 64,
    max_rows: int = 512,
) -> dict[Key, float]:
    """The exact distribution of `outcome(answer)`. Raises ValueError after `most` runs."""
    found: dict[Key, float] = {}
    script: list[int] | None = []
    for _ in range(most):
        assert script is not None
        oracle = Oracle(script)
        local = backend()
        local.draw = oracle.draw
        engine = Engine(local, slots=512, max_batch=max_batch, max_rows=max_rows)
        engine.chances = oracle.chance
        answer = engine.run(request)
        key = outcome(answer)
        found[key] = found.get(key, 0.0) + oracle.probability
        script = oracle.next_script()
        if script is None:
            return found
    raise ValueError(f"more than {most} runs: use a smaller model, fewer samples or fewer tokens")
