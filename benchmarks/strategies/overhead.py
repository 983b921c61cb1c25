"""What a strategy costs beside the model: time outside the forward, and rows evaluated a distinct token.

Everything is counted around the model, by wrappers, and not by what the receipt says: rows and seconds of
`model.forward`, seconds of the draw and of the verifier; distinct tokens in a trie of what branches wrote or
were given. The trie costs time itself, so each problem is solved twice: once counted, once timed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

from benchmarks.positions import Paths
from benchmarks.strategies.parts import ALONE, NONE, ORACLES, SEARCHES, At
from benchmarks.strategies.settings import sampling
from benchmarks.watching import watching
from outthink.bench import tasks
from outthink.core.branch import Branch
from outthink.core.types import Candidate, Score
from outthink.core.work import Rows
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.spec import parse

BRANCHES = 16
BOUNDS = {"overhead": 0.10, "positions": 1.05}
SLOTS = 2**16
TOKENS = 256  # that `lattice` may write; nobody else has this bound


class Timed:
    """A verifier with a clock; otherwise the one that it is made of."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.records, self.seconds_spent = inner, inner.records, 0.0

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        began = time.perf_counter()
        try:
            found: list[Score] = await self.inner(candidates)
            return found
        finally:
            self.seconds_spent += time.perf_counter() - began


class Cost(NamedTuple):
    """Sums over all problems of one strategy; seconds."""

    strategy: str
    config: str
    model: str
    rows: int  # that the model evaluated
    distinct: int  # tokens of the prompt and of all branches, given ones too, each distinct one once
    wall: float
    forward: float
    draw: float
    verifier: float
    branches: float  # mean rows of a pass
    written: int  # tokens, those that branches share counted for each

    @property
    def positions(self) -> float:
        """Rows evaluated a distinct token. Below 1, as the last token of a text is never evaluated."""
        return self.rows / self.distinct

    @property
    def engine(self) -> float:
        """Engine and strategy as a share of the forward: all but the forward, the draw and the verifier."""
        return (self.wall - self.forward - self.draw - self.verifier) / self.forward

    @property
    def micros(self) -> float:
        """Engine and strategy, microseconds a written token."""
        return 1e6 * (self.wall - self.forward - self.draw - self.verifier) / self.written

    @property
    def outside(self) -> float:
        """All but forward and verifier as a share of the forward."""
        return (self.wall - self.forward - self.verifier) / self.forward


def configs(step: int = 24) -> dict[str, str]:
    """Every strategy of the sweep with 16 texts side by side."""
    found: dict[str, str] = {}
    for entries, verifier in ((ALONE, NONE), (SEARCHES, ORACLES[0])):
        at = At(BRANCHES, BRANCHES, TOKENS, step, verifier)
        found |= {name: config(at) for name, config in entries.items()}
    return found


def cost(backend: Any, name: str, config: str, family: str, problems: int, model: str = "pocket") -> Cost:
    """Run one strategy on the first test problems of a family, each on an engine with an empty cache."""
    strategy = parse(config, "strategy")
    clocks = _time(strategy)
    rows, distinct, wall, forward, draw, verifier, passes, written = 0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0
    for index in range(problems):
        request = Request(
            strategy, tasks.load(family).problem("test", index), seed=index, sampling=sampling()
        )
        paths = Paths()
        with watching(backend) as counted, given_too(paths):
            Engine(backend, slots=SLOTS, trace=paths).run(request)
        engine, before = Engine(backend, slots=SLOTS), _spent(clocks)
        with watching(backend) as seen:
            began = time.perf_counter()
            engine.run(request)
            wall += time.perf_counter() - began
        assert seen.forward.total() == counted.forward.total(), "the same again has other rows"
        rows, passes = rows + seen.forward.total(), passes + seen.forward.count()
        distinct, written = distinct + len(paths.nodes), written + paths.written
        forward, draw = forward + sum(seen.forward.seconds), draw + sum(seen.draw.seconds)
        verifier += _spent(clocks) - before
    return Cost(name, config, model, rows, distinct, wall, forward, draw, verifier, rows / passes, written)


@contextmanager
def given_too(paths: Paths) -> Iterator[None]:
    """Text that a strategy gives a branch, to have it scored, is on the paths too: the trace hears only of
    what is written."""
    extend = Branch.extend

    async def heard(branch: Branch, *args: Any, **kwargs: Any) -> Rows:
        rows = await extend(branch, *args, **kwargs)
        paths.wrote(branch, ())
        return rows

    with mock.patch.object(Branch, "extend", heard):
        yield


def _time(strategy: Any) -> list[Timed]:
    """Put a clock around every verifier of a strategy."""
    clocks = []
    for field in ("verifier", "twist"):
        inner = getattr(strategy, field, None)
        if inner is not None:
            clocks.append(Timed(inner))
            object.__setattr__(strategy, field, clocks[-1])  # parts are frozen; this one is ours alone
    return clocks


def _spent(clocks: Sequence[Timed]) -> float:
    return sum(clock.seconds_spent for clock in clocks)


def table(costs: Sequence[Cost]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for the report: a row each strategy, the models side by side."""
    models = list(dict.fromkeys(cost.model for cost in costs))
    header = ["strategy", "rows a pass", "positions / distinct", "engine, us a token"]
    header += [f"{what} / forward, {model}" for model in models for what in ("engine", "with the draw")]
    by_strategy: dict[str, list[Cost]] = {}
    for cost in costs:
        by_strategy.setdefault(cost.config, []).append(cost)
    rows = [
        [
            f"`{config}`",
            f"{of[0].branches:.1f}",
            f"{of[0].positions:.3f}",
            f"{of[0].micros:.0f}",
            *(f"{share:.1%}" for cost in of for share in (cost.engine, cost.outside)),
        ]
        for config, of in by_strategy.items()
    ]
    return header, rows
