"""Many branches look, and write chosen tokens, in one await: what each of them would do alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from one_script import Script, Scripted, found

from outthink.backends.toy import hashed, toy
from outthink.core import together
from outthink.core.branch import Branch
from outthink.core.errors import BadInput, Misuse
from outthink.core.tasks import gather, race
from outthink.core.types import Answer, Budget, Dist, Sampling, Want
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace

VOCAB = 5
LOOK = Want(top=VOCAB, stats=("entropy",))


class Heard(Trace):
    def __init__(self) -> None:
        self.tokens: list[tuple[tuple[int, ...], int]] = []

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        self.tokens += [(branch.path, token) for token in tokens]


def play(script: Script, trace: Trace | None = None, slots: int = 400, **budget: Any) -> tuple[Any, Answer]:
    """What a script returns (None if it was ended), and the answer."""
    found.clear()
    engine = Engine(
        toy(hashed(VOCAB, scale=2.0, shortest=9, seed=4), VOCAB, context=32), slots=slots, trace=trace
    )
    answer = engine.run(Request(Scripted(script), "ab", Budget(**budget), sampling=Sampling(1.0)))
    engine.main.tree.check()
    return (found[0] if found else None), answer


async def choose_all(branches: Sequence[Branch], rank: int) -> list[bool]:
    """Each its own `rank`th token; in as many rounds as a budget makes of it."""
    picks = [branch.pick((branch.dist or Dist()).top[rank][0], branch.dist or Dist()) for branch in branches]
    ends: list[bool] = []
    while len(ends) < len(picks):
        ends += await together.choose(picks[len(ends) :])
    return ends


async def at_once(root: Branch) -> list[Any]:
    root.record("entropy")
    branches = [root]
    dists: list[Dist] = []
    for rank in (0, 1, 2):
        dists += await together.look(branches, LOOK)
        branches = [child for branch in branches for child in branch.fork(2)]
        await choose_all(branches[::2], rank)
        await choose_all(branches[1::2], rank + 1)
    return [dists, [b.tokens for b in branches], [b.logprob for b in branches], [b.stats for b in branches]]


async def one_by_one(root: Branch) -> list[Any]:
    root.record("entropy")
    branches = [root]
    dists: list[Dist] = []
    for rank in (0, 1, 2):
        dists += await gather(*(branch.look(LOOK) for branch in branches))
        branches = [child for branch in branches for child in branch.fork(2)]

        async def choose(branch: Branch, rank: int) -> None:
            dist = branch.dist or Dist()
            await branch.choose(dist.top[rank][0], dist)

        await gather(*(choose(branch, rank) for branch in branches[::2]))
        await gather(*(choose(branch, rank + 1) for branch in branches[1::2]))
    return [dists, [b.tokens for b in branches], [b.logprob for b in branches], [b.stats for b in branches]]


def test_together_is_what_each_does_alone() -> None:
    heard, alone = Heard(), Heard()
    one, two = play(at_once, heard), play(one_by_one, alone)
    assert one[0] == two[0] and sorted(heard.tokens) == sorted(alone.tokens)
    assert len(one[0][1]) == 8 == len(set(map(tuple, one[0][1])))
    mine, theirs = one[1].receipt, two[1].receipt
    assert mine is not None and theirs is not None
    assert mine.logical == theirs.logical and mine.logical.written == 2 + 4 + 8
    assert mine.actual.passes == theirs.actual.passes == 3
    assert mine.actual.positions == theirs.actual.positions


@pytest.mark.parametrize(
    "budget", [{"written": n} for n in range(1, 16)] + [{"positions": n} for n in range(2, 12)]
)
def test_a_budget_gives_them_what_it_gives_each(budget: dict[str, int]) -> None:
    """Not a token more, not one less, wherever it ends; what is written is the same."""
    heard, alone = Heard(), Heard()
    (mine, one), (theirs, two) = play(at_once, heard, **budget), play(one_by_one, alone, **budget)
    assert mine == theirs and sorted(heard.tokens) == sorted(alone.tokens)
    assert one.text == two.text and one.receipt is not None and two.receipt is not None
    assert one.receipt.finish == two.receipt.finish
    assert one.receipt.logical == two.receipt.logical
    if one.receipt.finish.startswith("budget: written") and one.receipt.logical.written > 1:
        assert one.text, "the longest text so far stands"
    [(what, cap)] = budget.items()
    assert getattr(one.receipt.logical, what) <= cap


def test_looks_fit_into_little_cache() -> None:
    """Texts that do not fit side by side are read one after the other."""

    async def script(root: Branch) -> list[Dist]:
        branches = root.fork(6)
        for i, branch in enumerate(branches):
            await branch.extend([1 + (i + j) % 4 for j in range(8)])
        return await together.look(branches, LOOK)

    (roomy, _), (tight, answer) = play(script, slots=400), play(script, slots=14)
    assert len(roomy) == 6 and roomy == tight
    assert answer.receipt is not None and answer.receipt.actual.passes > 3


def test_chosen_tokens_of_many_count_in_a_race() -> None:
    """Time is tokens written: who writes two at a time waits for who writes one, though nothing is read."""

    async def script(root: Branch) -> list[str]:
        dist = await root.look(LOOK)
        token = dist.top[0][0]

        async def write(name: str, branches: Sequence[Branch], rounds: int) -> str:
            for _ in range(rounds):
                await together.choose([branch.pick(token, dist) for branch in branches])
            return name

        return await race(write("slow", root.fork(2), 3), write("quick", root.fork(1), 3))

    (winner, *_), answer = play(script)
    assert winner == "quick", "3 tokens against 6"
    assert answer.receipt is not None
    assert answer.receipt.logical.written == 3 + 4, "the loser had written 4 when it had lost"


def test_each_once_and_of_one_model() -> None:
    async def twice(root: Branch) -> None:
        await together.look([root, root], LOOK)

    async def closed(root: Branch) -> None:
        [one] = root.fork()
        one.close()
        await together.look([root, one], LOOK)

    async def unlooked(root: Branch) -> None:
        root.pick(0, await root.look(Want(top=1)))
        root.pick(VOCAB - 1, Dist())

    async def busy(root: Branch) -> None:
        await gather(together.look([root], LOOK), root.look(LOOK))

    for script in (twice, closed, busy):
        with pytest.raises(Misuse):
            play(script)
    with pytest.raises(BadInput, match="look for more here first"):
        play(unlooked)
    assert play(nothing)[0] == ([], [])


async def nothing(root: Branch) -> Any:
    return await together.look([], LOOK), await together.choose([])


def test_a_closed_branch_is_not_written_on() -> None:
    async def script(root: Branch) -> None:
        await together.look([root], LOOK)
        [one] = root.fork()
        pick = one.pick((root.dist or Dist()).top[0][0], root.dist or Dist())
        one.close()
        await together.choose([pick])

    with pytest.raises(Misuse, match="closed"):
        play(script)


def test_branches_beside_a_closed_one_stay_usable() -> None:
    """Nothing was asked for, so nobody waits."""

    async def script(root: Branch) -> Any:
        one, other = root.fork(2)
        other.close()
        with suppress(Misuse):
            await together.look([one, other], LOOK)
        return await one.look(LOOK)

    dist, _ = play(script)
    assert len(dist.top) == VOCAB
