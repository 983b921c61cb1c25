"""What every part must keep, as functions that a third party's part can be run against.

Each raises AssertionError with a readable reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from outthink.core.branch import Branch
from outthink.core.draft import Draft
from outthink.core.errors import Interrupted
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


def check_drafter(
    drafter: Any, backend: Callable[[], Any], problem: Problem, strategies: Sequence[Any], sampling: Sampling
) -> None:
    """Laws of a drafter:

    - with it a run says and costs (logically) what it does without, in any batch, and holds nothing after;
    - a draft has at most as many tokens and levels as it was asked for, names its drafter, and its
      confidences are probabilities; the tip's text stays as it is;
    - the same run, its passes taking as long as before, gets the same drafts again;
    - it is a frozen dataclass.
    """
    fields(drafter)
    for strategy in strategies:
        request = Request(strategy, problem, sampling=sampling, seed=5)
        plain = _told(backend, request)
        for max_batch in (1, 3, 64):
            watched = [_Watched(drafter) for _ in range(2)]
            for one in watched:
                told = _told(backend, replace(request, speculate=one), max_batch)
                assert told == plain, f"{drafter!r} changes {strategy!r} at max_batch={max_batch}"
            assert watched[0].drafts == watched[1].drafts, f"{drafter!r} drafts otherwise in the same run"


class _Watched:
    """A drafter whose drafts are checked and kept."""

    def __init__(self, drafter: Any) -> None:
        self.drafter = drafter
        self.drafts: list[Draft | None] = []

    def open(self, studio: Any) -> Any:
        studio.clock, studio.seconds, studio.plain = (lambda: 0.0), _seconds, _seconds
        source = self.drafter.open(studio)
        propose = source.propose

        def watched(tip: Any, depth: int, nodes: int) -> Draft | None:
            before = list(tip.tokens)
            draft: Draft | None = propose(tip, depth, nodes)
            assert tip.tokens == before, "a drafter changed the text"
            self.drafts.append(draft)
            try:
                _check_draft(draft, depth, nodes)
            except AssertionError as error:
                raise Interrupted(f"{self.drafter!r}: {error}") from error
            return draft

        source.propose = watched
        return source


def _seconds(rows: int) -> float:
    """A machine on which eight rows take twice as long as one."""
    return 1.0 + rows / 8


def _check_draft(draft: Draft | None, depth: int, nodes: int) -> None:
    if draft is None:
        return
    levels: list[int] = []
    for parent in draft.parents:
        levels.append(1 if parent < 0 else levels[parent] + 1)
    assert 0 < len(draft.tokens) <= nodes, f"{len(draft.tokens)} tokens where {nodes} were asked for"
    assert max(levels) <= depth, f"{max(levels)} levels where {depth} were asked for"
    assert draft.by, "a draft without the name of its drafter"
    assert len(draft.conf) == len(draft.tokens) and all(0 <= p <= 1 for p in draft.conf), draft.conf


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
