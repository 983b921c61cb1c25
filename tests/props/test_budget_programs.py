"""Random programs under budgets: who gets which tokens does not depend on the schedule.

A program is a tree of writes, gathers and blocks with a cap, in any nesting. All of it runs under a cap that
is often too small. Batch and rows of a pass are the schedule; and so are drafts that are always right, but
made for some branches alone, which then run ahead of the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from drafters import Asking

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.draft import Draft
from outthink.core.drafting import Tip
from outthink.core.rng import digest
from outthink.core.tasks import gather
from outthink.core.types import Answer, Budget, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request

Part = tuple[Any, ...]  # ("write", most) or ("gather", programs) or ("limit", cap, program)
SCHEDULES = [(64, 512, 0), (1, 1, 0), (2, 3, 0), (64, 512, 1), (3, 40, 2), (64, 512, 3), (64, 512, 4)]
LOGITS = hashed(5, seed=4)


def hurried(seed: int) -> Asking | str:
    """A drafter that is always right, for about half of the branches; none for seed 0."""

    def ask(tip: Tip, depth: int, nodes: int) -> Draft | None:
        count = min(depth, nodes, 8)
        if digest(seed, tip.path) % 2 or count < 1:
            return None
        text = list(tip.tokens)
        for _ in range(count):
            row = LOGITS(tuple(text))
            text.append(max(range(5), key=row.__getitem__))
        return Draft(tuple(text[-count:]), tuple(range(-1, count - 1)))

    return Asking(ask) if seed else "none"


@dataclass(frozen=True)
class Program:
    """Does its parts; `log` has what each branch had written when it was last seen."""

    parts: list[Part]
    log: dict[tuple[int, ...], list[int]] = field(default_factory=dict, compare=False)

    async def __call__(self, root: Branch, /) -> Answer:
        await self._all(root, self.parts)
        return Answer(root.text())

    async def _all(self, branch: Branch, parts: list[Part]) -> None:
        for verb, *given in parts:
            if verb == "write":
                try:
                    await branch.generate(Sampling(temperature=0.0, max_tokens=given[0], ignore_eos=True))
                finally:
                    self.log[branch.path] = list(branch.tokens)
            elif verb == "gather":
                [programs] = given
                await gather(*map(self._all, branch.fork(len(programs)), programs))
            else:
                cap, program = given
                with branch.limit("block", written=cap):
                    await self._all(branch, program)


def run(parts: list[Part], cap: int, max_batch: int, max_rows: int, hurry: int) -> tuple[Any, ...]:
    engine = Engine(toy(LOGITS, 5, context=600), max_batch=max_batch, max_rows=max_rows)
    program = Program(parts)
    answer = engine.run(Request(program, "abc", Budget(written=cap), seed=1, speculate=hurried(hurry)))
    assert answer.receipt is not None and answer.receipt.logical.written <= cap
    books = {name: cost.written for name, cost in answer.receipt.by_scope.items()}
    return answer.text, answer.receipt.finish, answer.receipt.logical.written, books, program.log


def part(random: Random, depth: int) -> Part:
    kind = random.random()
    if depth == 0 or kind < 0.5:
        return ("write", random.randint(1, 9))
    if kind < 0.75:
        return ("gather", [parts(random, depth - 1, 4) for _ in range(random.randint(2, 3))])
    return ("limit", random.randint(1, 20), parts(random, depth - 1, 3))


def parts(random: Random, depth: int, most: int) -> list[Part]:
    return [part(random, depth) for _ in range(random.randint(1, most))]


def most_written(program: list[Part]) -> int:
    """What a program writes if nothing but its own blocks stops it, or a little more."""
    total = 0
    for verb, *given in program:
        if verb == "write":
            total += given[0]
        elif verb == "gather":
            total += sum(map(most_written, given[0]))
        else:
            total += min(given[0], most_written(given[1]))
    return total


@pytest.mark.parametrize("seed", range(14))
def test_who_gets_what_does_not_depend_on_the_schedule(seed: int) -> None:
    random = Random(seed)
    program: list[Part] = [("gather", [parts(random, 2, 5) for _ in range(random.randint(2, 3))])]
    cap = max(1, int(most_written(program) * random.uniform(0.3, 1.0)))
    first, *others = (run(program, cap, *schedule) for schedule in SCHEDULES)
    for other in others:
        assert other == first
