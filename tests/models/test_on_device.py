"""Passes and draws on a CUDA device, without one: nothing stays behind on the CPU, and no pass waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any
from unittest import mock

import pytest
import torch
from forests import Forest, evaluate
from pretend import Pretend, Seen, pretended

import outthink as ot
from outthink.backends.load import load_backend
from outthink.backends.local import STEP_ROWS
from outthink.core.batch import Move
from outthink.core.jobs import Draw
from outthink.decode import sample
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.kv.store import Store
from outthink.models import load

MODELS = [("llama", "float32"), ("qwen2", "bfloat16"), ("qwen3", "bfloat16"), ("llama", "int8")]


@pytest.fixture
def cuda() -> Iterator[Seen]:
    """Here is a CUDA device, if not a fast one."""
    with mock.patch("torch.cuda.is_available", lambda: True), pretended() as seen:
        yield seen


def test_the_pretended_device_refuses_what_cuda_refuses(cuda: Seen) -> None:
    there = torch.arange(4, device="cuda")
    with pytest.raises(RuntimeError, match="but found one on the CPU"):
        there + torch.ones(4)
    with pytest.raises(TypeError, match="to numpy"):
        there.numpy()
    there[torch.tensor([1], device="cuda")] = 7
    before = cuda.waits
    assert there.cpu().tolist() == [0, 7, 2, 3] and int(there[1]) == 7
    assert cuda.waits == before + 2


@pytest.mark.parametrize(("family", "dtype"), MODELS)
def test_logits_are_those_of_the_cpu(save_tiny: Any, cuda: Seen, family: str, dtype: str) -> None:
    path = save_tiny(family)
    random = Random(7)
    forest = Forest.random(random, vocab=97, branches=9)
    state = random.getstate()
    expected = evaluate(load(path, dtype, kernels="torch").model, forest, random)
    for branch in forest.branches:
        branch.done = 0
    random.setstate(state)
    model = load(path, dtype, "cuda").model
    cuda.waits = 0
    logits = evaluate(model, forest, random)
    assert not cuda.waits  # a pass runs ahead of the device
    assert logits.keys() == expected.keys() and all(isinstance(row, Pretend) for row in logits.values())
    tolerance = {"float32": 1e-4, "int8": 0.3, "bfloat16": 0.5}[dtype]
    for key, row in logits.items():
        torch.testing.assert_close(row.cpu(), expected[key], atol=tolerance, rtol=0, msg=f"{key}")


SAMPLINGS = {
    "greedy": ot.Sampling(temperature=0.0),
    "warm": ot.Sampling(temperature=0.8, stats=("entropy", "certainty", "top3")),
    "cut": ot.Sampling(temperature=1.2, top_k=20, top_p=0.9, min_p=0.02),
    "bent": ot.Sampling(repetition_penalty=1.3, presence_penalty=0.2, logit_bias=((5, 2.0), (7, -3.0))),
}


@pytest.mark.parametrize("dense", [4096, 16], ids=["dense noise", "sparse noise"])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_texts_are_those_of_the_cpu(
    save_tiny: Any, cuda: Seen, name: str, dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Branches of several requests in one engine, cache moved and given up, penalties, truncations, noise."""
    monkeypatch.setattr(sample, "DENSE", dense)
    texts = {}
    for device in ("cpu", "cuda"):
        made = load_backend(str(save_tiny("llama")), device=device, threads=1, kernels="torch")
        engine = Engine(made, slots=256)
        sampling = replace(SAMPLINGS[name], max_tokens=12)
        work = [
            Request(ot.strategy.Vote(n=4), f"w{i} w3 w{i + 2}", seed=i, sampling=sampling) for i in (4, 9)
        ]
        answers = [engine.run(one) for one in work]
        texts[device] = [[one.text for one in (answer, *answer.others)] for answer in answers]
    assert isinstance(made.store.data, Pretend)
    assert texts["cuda"] == texts["cpu"] and len(texts["cpu"]) == 2


@pytest.mark.parametrize(("temperature", "dense", "waits"), [(0.0, 16, 2), (0.8, 4096, 2), (0.8, 16, 3)])
def test_the_host_waits_a_few_times_a_draw_however_many_rows(
    cuda: Seen, temperature: float, dense: int, waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For tokens, for their log-probabilities, and to see which tokens could win."""
    monkeypatch.setattr(sample, "DENSE", dense)
    sampling = ot.Sampling(temperature=temperature)
    for rows in (1, 9):
        logits, before = torch.zeros(rows, 97, device="cuda"), cuda.waits
        assert len(sample.draw(logits, [Draw(row, row, 5, sampling, ()) for row in range(rows)])) == rows
        assert cuda.waits == before + waits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moves_and_growth_are_those_of_the_cpu(cuda: Seen, dtype: torch.dtype) -> None:
    cells = []
    for device in ("cpu", "cuda"):
        store = Store(2, 9, 1, 2, dtype, device)
        store.data.copy_(torch.arange(store.data.numel(), dtype=dtype).view(store.data.shape))
        store.move([Move(0, 6, 2), Move(4, 8, 1), Move(3, 3, 0)])
        store.grow(30)
        assert store.slots >= 30
        cells.append(store.data[:, :30].cpu())
    assert torch.equal(*cells) and cells[0][0, 6:8].equal(cells[0][0, :2])
    assert not cuda.synchronize.called


def test_pass_times_are_those_of_the_device(save_tiny: Any, cuda: Seen) -> None:
    """A call returns before the device is done: who times a pass has to wait for it."""
    made = load_backend(str(save_tiny("llama")), device="cuda")
    made.step_times()
    assert cuda.synchronize.call_count >= 2 * 2 * len(STEP_ROWS)
    assert made.clock is time.perf_counter
