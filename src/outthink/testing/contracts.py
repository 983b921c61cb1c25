"""What every part must keep, as functions that a third party's part can be run against.

Each raises AssertionError with a readable reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from outthink.core.branch import Branch
from outthink.core.problem import Problem, Task
from outthink.core.types import Answer, Budget, Candidate, Sampling, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request

BUDGETS = (1, 2, 3, 5, 8, 13, 40, 200)


def check_strategy(
    strategy: Any, backend: Callable[[], Any], problem: Problem, sampling: Sampling | None = None
) -> None:
    """Laws of a strategy:

    - it returns an Answer under any budget of at least one token, and never overspends it;
    - the same seed gives the same answer and logical cost in any batch, other seeds give others a chance;
    - what it forked is closed when it ends, and no cache but the prompt's stays;
    - it is a frozen dataclass.
    """
    fields(strategy)  # a TypeError says that it is no dataclass
    request = Request(strategy, problem, sampling=sampling or Sampling(temperature=1.0, max_tokens=6))
    free = _told(backend, request)
    for max_batch in (1, 3):
        assert _told(backend, request, max_batch) == free, f"{strategy!r}: max_batch={max_batch} changes it"
    for cap in BUDGETS:
        capped = replace(request, budget=Budget(written=cap))
        told = _told(backend, capped)
        assert told == _told(backend, capped, max_batch=2), f"{strategy!r}: budget {cap} depends on the batch"
        assert told[1].written <= cap, f"{strategy!r} wrote {told[1].written} tokens with a budget of {cap}"


def _told(backend: Callable[[], Any], request: Request, max_batch: int = 64) -> tuple[Any, ...]:
    engine = Engine(backend(), slots=4000, max_batch=max_batch)
    answer = engine.run(request)
    assert isinstance(answer, Answer) and answer.receipt is not None
    engine.main.tree.check()
    held = [node for node in engine.main.tree.nodes() if node.cursors]
    assert not held, f"{request.strategy!r} left branches open: {held}"
    assert not engine.limits.line and not engine.desk.held, f"{request.strategy!r} left work behind"
    return (answer.text, answer.receipt.logical, answer.final, answer.score, answer.receipt.finish)


def check_verifier(verifier: Any, candidates: Sequence[Candidate], backend: Callable[[], Any]) -> None:
    """Laws of a verifier: one finite Score a candidate, in order; a batch scores as its members do alone."""
    together = judged(verifier, candidates, backend)
    assert len(together) == len(candidates), f"{verifier!r}: {len(together)} scores for {len(candidates)}"
    assert all(isinstance(s, Score) and not math.isnan(s.value) for s in together), (
        f"{verifier!r}: {together}"
    )
    alone = [judged(verifier, [c], backend)[0] for c in candidates]
    assert together == alone, f"{verifier!r}: a batch scores otherwise than its members alone"
    backwards = judged(verifier, list(reversed(candidates)), backend)
    assert list(reversed(backwards)) == together, f"{verifier!r}: scores depend on the order"
    assert judged(verifier, [], backend) == [], f"{verifier!r}: no candidates, but scores"


def judged(verifier: Any, candidates: Sequence[Candidate], backend: Callable[[], Any]) -> list[Score]:
    """What a verifier says inside an engine; candidates without a branch get one with text written on it."""
    found: list[Score] = []

    class Judge:
        async def __call__(self, root: Branch, /) -> Answer:
            root.record(*verifier.records)
            given = [await self._with_branch(root, i, c) for i, c in enumerate(candidates)]
            order = sorted(range(len(given)), key=lambda i: i)
            found.extend(await verifier([given[i] for i in order]))
            return Answer("")

        async def _with_branch(self, root: Branch, i: int, candidate: Candidate) -> Candidate:
            branch = (await root.open(candidate.text[:3] or "a")) if candidate.branch is None else root
            branch.sampling = root.sampling
            branch.key = len(candidate.text)  # chance by candidate, not by place in the batch
            await branch.generate(replace(root.sampling, max_tokens=2))
            return replace(candidate, branch=branch)

    engine = Engine(backend(), slots=4000)
    try:
        engine.run(Request(Judge(), "a", sampling=Sampling(temperature=1.0)))
    finally:
        engine.close()
    return found


def check_task(task: Task, n: int = 20) -> None:
    """Laws of a task: same problems twice, right references pass both checkers, splits do not meet."""
    train, test = ([task.problem(split, i) for i in range(n)] for split in ("train", "test"))
    assert [p.prompt for p in test] == [task.problem("test", i).prompt for i in range(n)], "not reproducible"
    assert not {p.prompt for p in train} & {p.prompt for p in test}, "train and test share problems"
    for problem in (*train, *test):
        secret = problem.secret
        assert task.check(problem, secret.reference), f"{problem.id}: the reference does not pass"
        steps = secret.solution.splitlines()
        assert all(task.check_steps(problem, steps)), f"{problem.id}: the worked solution does not pass"
        assert not task.check(problem, None) and not task.check(problem, ""), f"{problem.id}: nothing passes"
