"""Rows that a model evaluated, counted at the model, against the distinct tokens of the tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import outthink as ot
from benchmarks.report import Section, Target
from benchmarks.watching import Watched, watching
from outthink.backends.local import LocalBackend
from outthink.bench import tasks
from outthink.core.branch import Branch
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace

SLOTS = 2**15
INTRODUCTION = """{problems} problems, at most {new} tokens a branch, natural ends, temperature 0.8; each on
an engine with an empty cache. Evaluated positions are rows of `model.forward`, counted by a wrapper around
it; distinct tokens are those of a trie built from what branches wrote. A ratio below 1: the last token of a
branch is never evaluated. The receipt agrees if its positions, passes and tokens written are what the
wrapper and the trace counted."""


class Paths(Trace):
    """Every path that was ever written, as a trie of (node, token)."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], int] = {}
        self.written = 0

    def born(self, branch: Branch) -> None:
        self._add(branch)

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        self.written += len(tokens)
        self._add(branch)

    def _add(self, branch: Branch) -> None:
        at = 0
        for token in branch.place.tree.tokens(branch.cursor):
            at = self.nodes.setdefault((at, token), len(self.nodes) + 1)


PARALLEL = ("Once", "Greedy", "Sample", "Vote", "BestOfN", "WeightedVote", "Short", "AdaptiveVote")


def strategies(n: int) -> list[ot.Strategy]:
    """One of every parallel strategy; searches and particles are held to 1.05 by their own tests."""
    made: list[ot.Strategy] = []
    for name in PARALLEL:
        kind = getattr(ot.strategy, name)
        fields = kind.__dataclass_fields__
        given: dict[str, Any] = {field: value for field, value in (("n", n), ("k", n)) if field in fields}
        if "verifier" in fields:
            given["verifier"] = ot.verify.Likelihood()
        if name == "WeightedVote":
            given["weight"] = "exp"
        made.append(kind(**given))
    return made


def measure(backend: LocalBackend, n: int = 16, problems: int = 4, new: int = 128) -> Section:
    """Every strategy on a few problems, each on an engine with an empty cache."""
    section = Section(
        "Positions evaluated",
        ["strategy", "evaluated", "prompt + distinct tokens", "ratio", "written", "passes", "receipt agrees"],
        before=[INTRODUCTION.format(problems=problems, new=new)],
    )
    worst, agreed = 0.0, True
    for strategy in strategies(n):
        rows, distinct, written, passes, agrees = 0, 0, 0, 0, True
        for index in range(problems):
            seen, paths, receipt = _one(backend, strategy, index, new)
            rows, passes = rows + seen.forward.total(), passes + seen.forward.count()
            distinct, written = distinct + len(paths.nodes), written + paths.written
            agrees &= _agrees(receipt, seen, paths)
        worst, agreed = max(worst, rows / distinct), agreed and agrees
        cells = [f"`{strategy!r}`", rows, distinct, f"{rows / distinct:.4f}", written, passes]
        section.rows.append([*map(str, cells), "yes" if agrees else "**no**"])
    section.targets += [
        Target("positions / (prompt + distinct tokens), worst strategy", worst, 1.02, at_least=False),
        Target("receipts equal what was counted at the model (1: all)", float(agreed), 1.0),
    ]
    return section


def _one(
    backend: LocalBackend, strategy: ot.Strategy, index: int, new: int
) -> tuple[Watched, Paths, ot.Receipt]:
    paths = Paths()
    engine = Engine(backend, slots=SLOTS, trace=paths)
    problem = tasks.load("steps").problem("test", index)
    with watching(backend) as seen:
        answer = engine.run(Request(strategy, problem, seed=index, sampling=ot.Sampling(max_tokens=new)))
    assert answer.receipt is not None
    return seen, paths, answer.receipt


def _agrees(receipt: ot.Receipt, seen: Watched, paths: Paths) -> bool:
    actual = receipt.actual
    counted = (seen.forward.total(), seen.forward.count(), seen.draw.total(), paths.written)
    return counted == (actual.positions, actual.passes, actual.written, actual.written)
