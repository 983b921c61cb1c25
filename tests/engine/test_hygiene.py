"""Task hygiene: what a strategy may do, and what happens when it does something else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.draft import Draft
from outthink.core.errors import BadInput, CacheFull, Misuse, PromptTooLong
from outthink.core.tasks import gather, offload, race
from outthink.core.types import Answer, Budget, Sampling, Want
from outthink.engine.engine import Engine
from outthink.engine.request import Request

Body = Callable[[Branch], Awaitable[Any]]
LOGITS = hashed(4, shortest=6, seed=1)


@dataclass(frozen=True)
class Do:
    """A strategy from a function; the function's result is the text."""

    body: Body
    seen: list[Any] = field(default_factory=list)

    async def __call__(self, root: Branch, /) -> Answer:
        result = await self.body(root)
        return result if isinstance(result, Answer) else Answer(str(result))


def do(body: Body, budget: Budget | None = None, slots: int = 500, seed: int = 0) -> Answer:
    engine = Engine(toy(LOGITS, 4, context=40), slots=slots)
    try:
        return engine.run(Request(Do(body), "ab", budget or Budget(), seed, Sampling(max_tokens=8)))
    finally:
        engine.main.tree.check()
        assert not any(node.cursors for node in engine.main.tree.nodes())
        assert not engine.trampoline.live and not engine.limits.line and not engine.desk.held


def test_awaiting_a_foreign_thing_is_refused() -> None:
    async def body(root: Branch) -> Any:
        await asyncio.sleep(0)

    with pytest.raises(Misuse, match="offload"):
        do(body)


def test_a_failing_child_ends_its_siblings_and_raises_here() -> None:
    ends: list[str] = []

    async def bad(branch: Branch) -> None:
        await branch.generate(Sampling(max_tokens=2))
        raise KeyError("boom")

    async def good(branch: Branch) -> None:
        try:
            await branch.generate()
            await branch.generate()
        finally:
            ends.append("closed")

    async def body(root: Branch) -> Any:
        one, two = root.fork(2)
        try:
            await gather(bad(one), good(two))
        except KeyError as error:
            assert error.__cause__ is not None and error.__cause__ is not error
            assert ends == ["closed"]
            return "caught"

    assert do(body).text == "caught"


def test_branches_close_with_the_task_that_forked_them_unless_returned() -> None:
    async def child(root: Branch) -> Branch:
        lost, kept = root.fork(2)
        await lost.generate(Sampling(max_tokens=3))
        await kept.generate(Sampling(max_tokens=3))
        child.lost = lost  # type: ignore[attr-defined]
        return kept

    async def body(root: Branch) -> Any:
        [kept] = await gather(child(root))
        assert child.lost.is_closed and not kept.is_closed  # type: ignore[attr-defined]
        with pytest.raises(Misuse, match="closed"):
            await child.lost.generate()  # type: ignore[attr-defined]
        await kept.generate(Sampling(max_tokens=1))
        return len(kept)

    assert do(body).text == "4"


def test_two_awaits_on_one_branch_are_refused() -> None:
    async def body(root: Branch) -> Any:
        await gather(root.generate(), root.generate())

    with pytest.raises(Misuse, match="one pending await"):
        do(body)


def test_a_block_swallows_its_own_exhaustion_only() -> None:
    async def body(root: Branch) -> Any:
        one, two = root.fork(2)
        with root.limit("think", written=5):
            await gather(one.generate(), two.generate())
            raise AssertionError("the block should have ended")
        last = await root.fork()[0].generate(Sampling(max_tokens=3))
        return Answer(f"{last.tokens}")

    answer = do(body)
    assert answer.text == "3" and answer.receipt is not None
    assert answer.receipt.finish == "done"
    assert answer.receipt.by_scope["run/think"].written == 5
    assert answer.receipt.logical.written == 8


def test_an_outer_cap_ends_an_inner_block_too() -> None:
    async def body(root: Branch) -> Any:
        with root.limit("think", written=100):
            for branch in root.fork(4):
                await branch.generate()
        raise AssertionError("the run should have ended")

    answer = do(body, Budget(written=9))
    assert answer.receipt is not None and answer.receipt.finish == "budget: written=9 in run"
    assert answer.receipt.logical.written == 9


def test_keep_leaves_tokens_for_after() -> None:
    async def body(root: Branch) -> Any:
        with root.limit("think", keep=Budget(written=4)):
            for branch in root.fork(9):
                await branch.generate()
        after = await root.fork()[0].generate(Sampling(max_tokens=4))
        return after.tokens

    assert do(body, Budget(written=30)).text == "4"


def test_an_await_after_interruption_raises_again() -> None:
    tries: list[str] = []

    async def stubborn(branch: Branch) -> None:
        while len(tries) < 5:
            try:
                await branch.generate()
            except BaseException as error:
                tries.append(type(error).__name__)
                if len(tries) == 3:
                    raise

    async def body(root: Branch) -> Any:
        await gather(*(stubborn(b) for b in root.fork(2)))

    answer = do(body, Budget(written=4))
    assert answer.receipt is not None and "written=4" in answer.receipt.finish
    assert set(tries) == {"BudgetExceeded"} and len(tries) >= 3


def test_race_orders_by_tokens_and_frees_the_losers() -> None:
    async def contestant(branch: Branch, n: int) -> int:
        await branch.generate(Sampling(max_tokens=n, ignore_eos=True))
        return n

    async def body(root: Branch) -> Any:
        return await race(
            *(contestant(b, n) for b, n in zip(root.fork(5), (9, 3, 12, 3, 5), strict=True)), first=3
        )

    answer = do(body)
    assert answer.text == "[3, 3, 5]" and answer.receipt is not None
    assert (
        answer.receipt.logical.written == 3 + 3 + 5 + 6 + 6
    )  # two earlier in line may tie with 5, so they are cut at 6
    assert answer.receipt.logical.discarded > 0


def test_offload_runs_elsewhere_and_times_out() -> None:
    async def body(root: Branch) -> Any:
        ids = await gather(offload(abs, -3), offload(time.sleep, 0.01, io=True))
        with pytest.raises(TimeoutError):
            await offload(time.sleep, 30, timeout=0.3)
        with pytest.raises(ZeroDivisionError):
            await offload(divmod, 1, 0)
        return ids

    assert do(body).text == "[3, None]"


def test_seconds_end_a_run_that_waits() -> None:
    async def body(root: Branch) -> Any:
        root.offer(Answer("so far"))
        await offload(time.sleep, 30, io=True)

    began = time.monotonic()
    answer = do(body, Budget(seconds=0.2))
    assert answer.text == "so far" and time.monotonic() - began < 10


def test_passes_are_a_cap_too() -> None:
    async def body(root: Branch) -> Any:
        return (await root.generate(Sampling(max_tokens=30, ignore_eos=True))).text

    answer = do(body, Budget(passes=4))
    assert answer.receipt is not None
    assert answer.receipt.actual.passes == 4 and answer.receipt.finish == "budget: passes=4 in run"


def test_an_outer_offer_beats_an_inner_one() -> None:
    async def inner(root: Branch) -> Answer:
        root.offer(Answer("inner"), rank=99.0)
        await root.generate()
        return Answer("never")

    async def body(root: Branch) -> Any:
        root.offer(Answer("outer"), rank=0.0)
        return await Do(inner)(root.fork()[0])

    assert do(body, Budget(written=2)).text == "outer"


def test_forced_text_is_scored_exactly() -> None:
    import torch

    async def body(root: Branch) -> Any:
        rows = await root.extend("abb", Want(row=True, stats=("entropy",)))
        prefix: tuple[int, ...] = (1, 2)
        for token, logp, dist in zip((1, 2, 2), rows.logprobs, rows.dists, strict=True):
            truth = torch.tensor(LOGITS(prefix), dtype=torch.float64).log_softmax(-1)
            assert logp == pytest.approx(float(truth[token]))
            assert dist.row == pytest.approx(truth.tolist())
            prefix = (*prefix, token)
        return sum(rows.logprobs)

    assert float(do(body).text) < 0


def test_a_prompt_is_scored_exactly_and_once() -> None:
    import torch

    async def body(root: Branch) -> Any:
        rows = await root.score_prompt(Want(top=2))
        truth = torch.tensor(LOGITS((1,)), dtype=torch.float64).log_softmax(-1)
        assert rows.logprobs == pytest.approx((float(truth[2]),)) and len(rows.dists) == 1
        best = truth.topk(2)
        assert [t for t, _ in rows.dists[0].top] == best.indices.tolist()
        return (await root.generate(Sampling(max_tokens=2, ignore_eos=True))).text

    answer = do(body)
    assert answer.text == do(_two).text
    assert answer.receipt is not None and answer.receipt.logical.read == 2
    assert answer.receipt.logical.positions == 3


async def _two(root: Branch) -> Any:
    return (await root.generate(Sampling(max_tokens=2, ignore_eos=True))).text


def test_the_likeliest_tokens_are_recorded_with_what_is_written() -> None:
    import torch

    async def body(root: Branch) -> Any:
        root.record("top3", "entropy")
        await root.generate(Sampling(max_tokens=4, ignore_eos=True, top_k=1))
        prefix: tuple[int, ...] = (1, 2)
        for token, logp, best in zip(root.tokens, root.logps, root.stats["top3"], strict=True):
            truth = torch.tensor(LOGITS(prefix), dtype=torch.float64).log_softmax(-1).topk(3)
            assert [t for t, _ in best] == truth.indices.tolist()
            assert [p for _, p in best] == pytest.approx(truth.values.tolist())
            assert best[0] == (token, pytest.approx(logp))
            prefix = (*prefix, token)
        return len(root.stats["entropy"])

    assert do(body).text == "4"


def test_peek_commits_nothing() -> None:
    import torch

    async def body(root: Branch) -> Any:
        draft = Draft((1, 2, 1, 3), (-1, -1, 0, 0))
        peek = await root.peek(draft, Want(row=True))
        for path, dist in zip(((1,), (2,), (1, 1), (1, 3)), peek.dists, strict=True):
            truth = torch.tensor(LOGITS((1, 2, *path)), dtype=torch.float64).log_softmax(-1)
            assert dist.row == pytest.approx(truth.tolist())
        return len(root)

    assert do(body).text == "0"


def test_rewind_draws_anew() -> None:
    async def body(root: Branch) -> Any:
        texts = []
        for _ in range(6):
            await root.generate(Sampling(temperature=1.0, max_tokens=6, ignore_eos=True))
            texts.append(root.text())
            root.rewind(0)
        return len(set(texts))

    assert int(do(body).text) > 3


@pytest.mark.parametrize("prompt", ["", "  "])
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(BadInput, match="empty"):
        Engine(toy(vocab=4)).run(Request(Do(_never), prompt))


def test_a_prompt_longer_than_the_context_is_refused() -> None:
    with pytest.raises(PromptTooLong, match="64"):
        Engine(toy(vocab=4, context=64)).run(Request(Do(_never), "ab" * 40))


def test_a_request_too_large_for_the_cache_says_so() -> None:
    async def body(root: Branch) -> Any:
        return (await root.generate(Sampling(max_tokens=30, ignore_eos=True))).text

    with pytest.raises(CacheFull, match="give it more cache"):
        do(body, slots=10)


async def _never(root: Branch) -> Any:
    raise AssertionError("not to be run")


def test_an_engine_whose_cache_went_to_another_says_so() -> None:
    """It would find other texts' keys where its tree has its own."""
    backend = toy(LOGITS, 4, context=40)
    first, second = Engine(backend, slots=500), Engine(backend, slots=500)

    async def body(root: Branch) -> Any:
        await root.generate(Sampling(1.0, max_tokens=8))
        return root.text()

    request = Request(Do(body), "ab", sampling=Sampling(1.0))
    text = first.run(request).text
    assert first.run(request).text == second.run(request).text == second.run(request).text == text
    with pytest.raises(Misuse, match="another engine has run on this backend"):
        first.run(request)
    assert second.run(request).text == text
    for engine in (first, second):
        engine.main.tree.check()


def test_requests_of_different_salts_share_no_cache() -> None:
    engine = Engine(toy(LOGITS, 4, context=40), slots=500)

    async def body(root: Branch) -> Any:
        judge = await root.open("aabb")
        await judge.look(Want(top=1))
        await root.generate(Sampling(1.0, max_tokens=4, ignore_eos=True))
        return root.text()

    def ask(salt: str) -> Answer:
        return engine.run(Request(Do(body), "abab", sampling=Sampling(1.0), salt=salt))

    first, again, apart, again_apart = map(ask, ("", "", "x", "x"))
    assert first.text == again.text == apart.text == again_apart.text
    answers = (first, again, apart, again_apart)
    spent = [answer.receipt.actual.positions for answer in answers if answer.receipt]
    assert spent[0] == spent[2] > spent[1] == spent[3]
    engine.main.tree.check()
