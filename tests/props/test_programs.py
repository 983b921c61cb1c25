"""Random programs: forks, writing, reading, rewinds, closes and evictions in any order equal full
recomputation.

The toy model reads its prefix through the cache, and every look is compared with the model's definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.draft import Draft
from outthink.core.tasks import gather
from outthink.core.types import Answer, Sampling, Want
from outthink.engine.engine import Engine
from outthink.engine.request import Request

LOGITS = hashed(4, seed=3)
Step = tuple[str, int]
STEPS = st.tuples(
    st.sampled_from(["write", "read", "force", "score", "fork", "close", "rewind", "peek", "together"]),
    st.integers(0, 7),
)


def truth(branch: Branch) -> list[float]:
    row = LOGITS(tuple(branch.place.tree.tokens(branch.cursor)))
    total = math.log(sum(math.exp(x) for x in row))
    return [x - total for x in row]


async def check(branch: Branch) -> None:
    dist = await branch.look(Want(row=True))
    assert dist.row is not None
    assert all(math.isclose(a, b, abs_tol=1e-12) for a, b in zip(dist.row, truth(branch), strict=True))


@dataclass(frozen=True)
class Program:
    """Does its steps on a pool of branches."""

    steps: tuple[Step, ...]

    async def __call__(self, root: Branch, /) -> Answer:
        pool, log = root.fork(2), []
        for verb, n in self.steps:
            branch = pool[n % len(pool)]
            if verb == "fork" and len(pool) < 6:
                pool += branch.fork(1 + n % 2)
            elif verb == "close" and len(pool) > 1:
                pool.remove(branch)
                branch.close()
            elif verb == "rewind":
                branch.rewind(len(branch) * n // 8)
            elif verb == "together":
                await gather(*(self._write(b, n) for b in pool))
            else:
                await self._spend(verb, n, branch)
            log.append(tuple(tuple(b.tokens) for b in pool))
        for branch in pool:
            await check(branch)
        return Answer(repr(log))

    async def _spend(self, verb: str, n: int, branch: Branch) -> None:
        if len(branch) > 20:
            branch.rewind(3)
        if verb == "write":
            await self._write(branch, n)
        elif verb == "read":
            await check(branch)
        elif verb == "force":
            await branch.extend([1 + n % 3, 1])
        elif verb == "score":
            before = truth(branch)
            rows = await branch.extend([n % 4], Want(row=True))
            assert math.isclose(rows.logprob, before[n % 4], abs_tol=1e-12)
        elif verb == "peek":
            peek = await branch.peek(Draft((n % 4, 1, 2), (-1, 0, 0)), Want(token=1))
            prefix = tuple(branch.place.tree.tokens(branch.cursor))
            row = LOGITS((*prefix, n % 4, 2))
            assert math.isclose(
                peek.dists[2].logprob or 0, row[1] - math.log(sum(map(math.exp, row))), abs_tol=1e-12
            )

    async def _write(self, branch: Branch, n: int) -> None:
        if len(branch) > 20:
            branch.rewind(2)
        await branch.generate(Sampling(temperature=1.0, max_tokens=1 + n, ignore_eos=n % 2 == 0))


@given(st.lists(STEPS, max_size=14), st.sampled_from([(1, 1, 400), (3, 4, 60), (64, 64, 400), (2, 9, 48)]))
@settings(max_examples=120, deadline=None)
def test_random_programs(steps: list[Step], shape: tuple[int, int, int]) -> None:
    def run(max_batch: int, max_rows: int, slots: int) -> Any:
        engine = Engine(toy(LOGITS, 4, context=60), slots=slots, max_batch=max_batch, max_rows=max_rows)
        answers = [
            d.answer or d.error
            for d in engine.map([Request(Program(tuple(steps)), "abca", seed=s) for s in (0, 1)])
        ]
        engine.main.tree.check()
        assert not any(node.cursors for node in engine.main.tree.nodes())
        return sorted((a.receipt.seed, a.text, repr(a.receipt.logical)) for a in answers)  # type: ignore[union-attr]

    assert run(*shape) == run(64, 512, 2000)
