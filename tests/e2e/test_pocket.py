"""The embedded model from a question to a receipt, through the public door."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import outthink as ot
from outthink.bench.tasks import load as load_task
from outthink.core.types import Want
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.models.levels import _native

STRATEGIES: list[Any] = [
    ot.strategy.Greedy(),
    ot.strategy.Vote(n=6),
    ot.strategy.Short(m=2, k=5),
    ot.strategy.BestOfN(ot.verify.Certainty(), n=4),
    ot.strategy.WeightedVote(ot.verify.Likelihood(), n=4, weight="exp"),
    ot.strategy.AdaptiveVote(n=8, wave=3),
]
SAMPLING = ot.Sampling(temperature=0.8, max_tokens=40)


@pytest.fixture(scope="module")
def exact() -> Engine:
    return ot.load("pocket", dtype="float64", threads=1)


def requests(n: int = 1) -> list[Request]:
    problems = [load_task(name).problem("test", i) for name in ("steps", "countdown") for i in range(n)]
    return [Request(s, p, seed=7, sampling=SAMPLING) for s in STRATEGIES for p in problems]


def told(answer: ot.Answer | None) -> tuple[Any, ...]:
    assert answer is not None and answer.receipt is not None
    return answer.text, answer.final, answer.finish, answer.tokens, answer.receipt.logical


@pytest.mark.parametrize(
    "dtype, kernels", [("float64", "torch"), ("float32", "native"), ("bfloat16", "native")]
)
def test_same_answers_in_any_batch_and_company(dtype: str, kernels: str) -> None:
    """float64, where the bits of a logit are far below what could part two draws; kernels whose bits stay."""
    if kernels == "native" and _native is None:
        pytest.skip("the native extension is not built")
    asked = requests()
    first = ot.load("pocket", dtype=dtype, kernels=kernels, threads=1)
    alone = [told(first.run(r)) for r in asked]
    for threads, max_batch, max_rows, concurrency in ((2, 1, 16, 1), (1, 7, 40, 5), (2, 256, 512, 24)):
        lm = ot.load(
            "pocket",
            dtype=dtype,
            kernels=kernels,
            threads=threads if kernels == "native" else 1,
            max_batch=max_batch,
            max_rows=max_rows,
        )
        found = {id(d.request): told(d.answer) for d in lm.map(asked, concurrency)}
        assert [found[id(r)] for r in asked] == alone
        lm.main.tree.check()


@dataclass(frozen=True)
class ByHand:
    """Greedy decoding without the fast path: look at the tip, append the likeliest token."""

    async def __call__(self, root: ot.Branch, /) -> ot.Answer:
        eos = root.place.eos
        while len(root) < 60:
            token = (await root.look(Want(top=1))).top[0][0]
            await root.extend([token])
            if token in eos:
                break
        return ot.Answer(root.text(), tokens=len(root))


def test_the_fast_path_equals_the_coroutine(exact: Engine) -> None:
    for index in range(3):
        problem = load_task("steps").problem("test", index)
        slow = exact.run(Request(ByHand(), problem))
        fast = exact.run(Request(ot.strategy.Greedy(), problem, sampling=replace(SAMPLING, max_tokens=60)))
        assert (slow.text, slow.tokens) == (fast.text, fast.tokens)


def test_greedy_text_is_that_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    path = ot.embedded()["pocket"]
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    lm = ot.load("pocket", threads=1)
    for index in range(3):
        problem = load_task("procedures").problem("test", index)
        chat = [{"role": "user", "content": problem.prompt}]
        ids = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            out = model.generate(**ids, do_sample=False, max_new_tokens=80)
        theirs = tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        ours = lm.run(Request(ot.strategy.Greedy(), problem, sampling=replace(SAMPLING, max_tokens=80)))
        assert ours.text == theirs


def test_thinking_beats_one_sample() -> None:
    """What the product is about, on 24 problems: a verifier finds right answers among samples."""
    lm = ot.load("pocket", threads=1)
    task = load_task("steps")
    problems = [task.problem("test", i) for i in range(24)]
    right = {}
    for strategy in (ot.strategy.Once(), ot.strategy.BestOfN(ot.verify.Steps(), n=12)):
        asked = [Request(strategy, p, seed=1, sampling=replace(SAMPLING, max_tokens=300)) for p in problems]
        right[repr(strategy)] = sum(
            task.check(d.request.problem, d.answer.final) for d in lm.map(asked) if d.answer
        )
    one, many = right.values()
    assert many >= one + 3, right


@pytest.mark.parametrize("cap", [1, 2, 17, 60])
def test_a_budget_is_kept_and_said(cap: int) -> None:
    lm = ot.load("pocket", threads=1)
    problem = load_task("steps").problem("test", 0)
    answer = ot.run(ot.strategy.Vote(n=8), problem, lm, budget=ot.Budget(written=cap), sampling=SAMPLING)
    assert answer.receipt is not None
    assert answer.receipt.actual.written == answer.receipt.logical.written == cap
    assert answer.receipt.finish == f"budget: written={cap} in run"


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_the_receipt_counts_what_the_model_did(strategy: Any) -> None:
    """Positions against a counter at the model: the actual book to the row, the logical one as if cold."""
    lm = ot.load("pocket", threads=1)
    model: Any = lm.main.backend.model  # type: ignore[attr-defined]
    forward, rows = model.forward, 0

    def counted(batch: Any, store: Any) -> Any:
        nonlocal rows
        rows += len(batch)
        return forward(batch, store)

    def several(batch: Any, *given: Any) -> Any:
        nonlocal rows
        found = write(batch, *given)
        rows += len(batch) * len(found[1])
        return found

    model.forward = counted
    if hasattr(model, "write"):  # of the native kernels: several passes in one call
        write, model.write = model.write, several
    problem = load_task("paths").problem("test", 1)
    cold, warm = (ot.run(strategy, problem, lm, sampling=SAMPLING, seed=3).receipt for _ in range(2))
    assert cold is not None and warm is not None
    assert cold.actual.positions + warm.actual.positions == rows
    assert warm.logical == cold.logical and warm.actual.positions < cold.actual.positions
    assert cold.actual.positions == cold.logical.positions
    lm.main.tree.check()


def test_run_takes_a_name() -> None:
    lm, sampling = ot.load("toy"), ot.Sampling(max_tokens=6)
    by_name = ot.run("vote(n=3)", "ab", lm, sampling=sampling, seed=3)
    by_part = ot.run(ot.strategy.Vote(n=3), "ab", lm, sampling=sampling, seed=3)
    assert (by_name.text, by_name.final) == (by_part.text, by_part.final)
    with pytest.raises(ot.BadInput, match="vote"):
        ot.run("vot(n=3)", "ab", lm)


def test_a_model_that_is_moved_writes_the_same(tmp_path: Path) -> None:
    """By seed, whatever the path to its directory."""
    texts = []
    for place in ("here", "there"):
        moved = shutil.copytree(ot.embedded()["pocket-mini"], tmp_path / place / "mini")
        lm = ot.load(str(moved), threads=1)
        texts.append(ot.run("sample", "2 + 2?", lm, sampling=ot.Sampling(max_tokens=20), seed=3).text)
    assert texts[0] == texts[1] != ""
