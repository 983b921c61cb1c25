"""Tokens that a strategy chooses are written without a pass, and reads of known rows cost none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from one_script import Script, Scripted, found

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.tasks import gather, race
from outthink.core.types import Answer, Budget, Dist, Sampling, Want
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.engine.trace import Trace

VOCAB = 5
LOOK = Want(top=VOCAB, stats=("entropy",))


class Heard(Trace):
    def __init__(self) -> None:
        self.tokens: list[int] = []

    def wrote(self, branch: Branch, tokens: Sequence[int]) -> None:
        self.tokens += tokens


def play(script: Script, trace: Trace | None = None, **budget: Any) -> tuple[Any, Answer]:
    """What a script returns (None if it was ended), and the answer."""
    found.clear()
    engine = Engine(
        toy(hashed(VOCAB, scale=2.0, shortest=9, seed=4), VOCAB, context=32), slots=400, trace=trace
    )
    answer = engine.run(Request(Scripted(script), "ab", Budget(**budget), sampling=Sampling(1.0)))
    return (found[0] if found else None), answer


async def third(branch: Branch) -> int:
    """The token that comes third."""
    return (await branch.look(LOOK)).top[2][0]


async def by_choice(branch: Branch) -> list[Any]:
    branch.record("entropy")
    said = []
    for _ in range(4):
        token = await third(branch)
        assert branch.dist is not None
        said.append(await branch.choose(token, branch.dist))
    return [said, branch.tokens, branch.stats["entropy"]]


async def by_force(branch: Branch) -> list[Any]:
    """The same, written by a bias that no logit outweighs: what `choose` stands for."""
    branch.record("entropy")
    said = []
    for _ in range(4):
        bias = ((await third(branch), 1e9),)
        said.append(await branch.generate(Sampling(0.0, max_tokens=1, logit_bias=bias)))
    return [said, branch.tokens, branch.stats["entropy"]]


def test_choosing_is_writing_with_certainty_for_less() -> None:
    heard = Heard()
    (said, tokens, entropy), answer = play(by_choice, heard)
    (forced, same, recorded), before = play(by_force)
    assert tokens == same == heard.tokens and len(tokens) == 4
    assert [(f.reason, f.text, f.tokens) for f in said] == [(f.reason, f.text, f.tokens) for f in forced]
    assert [f.logprob for f in said] == pytest.approx([f.logprob for f in forced])
    assert entropy == pytest.approx(recorded)
    now, then = answer.receipt, before.receipt
    assert now is not None and then is not None
    assert now.logical == then.logical
    assert (now.actual.written, now.actual.positions) == (4, 2 + 3)
    assert now.actual.passes <= then.actual.passes


def test_an_end_token_ends_the_text() -> None:
    async def script(branch: Branch) -> Any:
        [eos] = branch.place.eos
        for _ in range(8):  # no earlier
            await branch.choose(await third(branch), branch.dist or Dist())
        dist = await branch.look(LOOK)
        return await branch.choose(eos, dist) if eos in dict(dist.top) else None

    finish, _ = play(script)
    assert finish is not None and finish.reason == "eos"


def test_what_the_look_did_not_give_is_asked_for() -> None:
    async def unknown(branch: Branch) -> None:
        dist = await branch.look(Want(top=1))
        await branch.choose((dist.top[0][0] + 1) % VOCAB, dist)

    async def unrecorded(branch: Branch) -> None:
        branch.record("entropy")
        dist = await branch.look(Want(top=1))
        await branch.choose(dist.top[0][0], dist)

    with pytest.raises(BadInput, match="among its likeliest; look for more"):
        play(unknown)
    with pytest.raises(BadInput, match="lacks entropy"):
        play(unrecorded)


@pytest.mark.parametrize("cap", [1, 3])
def test_a_budget_ends_at_its_edge(cap: int) -> None:
    found, answer = play(by_choice, written=cap)
    assert found is None and answer.receipt is not None
    assert answer.receipt.logical.written == answer.receipt.actual.written == cap
    assert answer.tokens == cap


def test_chosen_tokens_count_in_a_race() -> None:
    async def write(branch: Branch, n: int) -> int:
        for _ in range(n):
            await branch.choose(await third(branch), branch.dist or Dist())
        return n

    async def script(root: Branch) -> list[int]:
        slow, quick = root.fork(2)
        return await race(write(slow, 6), write(quick, 3))

    (winner, *_), answer = play(script)
    assert winner == 3
    assert answer.receipt is not None and answer.receipt.logical.written == 3 + 4  # the loser's: one more


def test_a_row_that_is_known_is_read_again_for_nothing() -> None:
    """Side by side with new rows, in an order of its own, and as often as one likes."""

    async def script(root: Branch) -> list[Dist]:
        await root.generate(Sampling(1.0, max_tokens=6))
        tokens, [reader] = root.tokens, root.fork()
        reader.rewind(1)
        first = await reader.extend(tokens[1:], Want(row=True))
        again, [one, two, three] = root.fork()[0], root.fork(3)
        three.rewind(4)  # what it draws from is known too
        again.rewind(3)
        two.rewind(0)
        new = [(token + 1) % VOCAB for token in tokens]
        _, rows, *_ = await gather(
            three.generate(Sampling(1.0, max_tokens=1)),
            again.extend(tokens[3:], Want(row=True)),
            one.look(LOOK),
            two.extend(new, Want(row=True)),
        )
        assert rows.dists == first.dists[2:]
        return list(first.dists)

    dists, answer = play(script)
    engine = Engine(toy(hashed(VOCAB, scale=2.0, shortest=9, seed=4), VOCAB, context=32), slots=400)
    tokens = engine.main.tokenizer.encode(answer.text, special=False)

    async def fresh(root: Branch) -> list[Dist]:
        return list((await root.extend(tokens, Want(row=True))).dists[1:])

    truth, _ = play(fresh)
    assert len(truth) == len(dists) == 5
    for mine, theirs in zip(dists, truth, strict=True):
        assert mine.row == pytest.approx(theirs.row)
        assert mine.logprob == pytest.approx(theirs.logprob)
    assert answer.receipt is not None
    assert answer.receipt.actual.positions == answer.receipt.logical.positions


def test_what_is_written_after_a_rewind_is_paid_for() -> None:
    async def script(root: Branch) -> int:
        await root.generate(Sampling(1.0, max_tokens=3, ignore_eos=True))
        root.rewind(1)
        await root.generate(Sampling(1.0, max_tokens=9, ignore_eos=True))
        return len(root)

    length, answer = play(script)
    assert length == 10 and answer.receipt is not None
    logical, actual = answer.receipt.logical, answer.receipt.actual
    assert logical.written == actual.written == 12
    assert logical.positions == actual.positions
    written = [answer.receipt.logical.written]
    for most in range(4, 12):
        told = play(script, positions=most)[1].receipt
        assert told is not None and told.logical.positions <= most
        written.append(told.logical.written)
    assert len(set(written)) > 4, "the budget bites"
