"""Deterministic mode: the same text, to the bit of every score, in any batch, in any company, in any type."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import outthink as ot
from outthink.backends.local import LocalBackend
from outthink.bench.tasks import load as load_task
from outthink.cli import run as command
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.models.levels import _native

SHORT = ot.Sampling(temperature=0.8, max_tokens=24)
WARM = ot.Sampling(
    temperature=1.0, max_tokens=20, top_p=0.9, min_p=0.02, repetition_penalty=1.1, logit_bias=((5, 0.5),)
)
STRATEGIES: list[Any] = [
    ot.strategy.Vote(n=8),
    ot.strategy.Beam(ot.verify.Likelihood(), width=2, expand=3, step_tokens=10),
    ot.strategy.Particles(ot.verify.Likelihood(), n=4, scale="log", tokens=8),
    ot.strategy.BestOfN(ot.verify.SelfEval(), n=3),
]


@pytest.fixture(
    scope="module",
    params=[("float32", "native"), ("bfloat16", "native"), ("float32", "torch"), ("bfloat16", "torch")],
    ids=" ".join,
)
def backend(request: pytest.FixtureRequest) -> LocalBackend:
    dtype, kernels = request.param
    if kernels == "native" and _native is None:
        pytest.skip("the native extension is not built")
    made = ot.load("pocket-mini", dtype=dtype, kernels=kernels, deterministic=True).main.backend
    assert isinstance(made, LocalBackend)
    return made


def requests() -> list[Request]:
    problem = load_task("steps").problem("test", 3)
    return [Request(s, problem, seed=5, sampling=w) for s in STRATEGIES for w in (SHORT, WARM)]


def told(answer: ot.Answer | None) -> tuple[Any, ...]:
    """All that an answer is made of, numbers to the bit."""
    assert answer is not None and answer.receipt is not None
    assert answer.receipt.deterministic and answer.receipt.as_dict()["deterministic"] is True
    others = tuple((o.text, o.score, o.logprob) for o in answer.others)
    return answer.text, answer.score, answer.logprob, others, answer.receipt.logical, dict(answer.estimates)


def test_the_same_bits_in_any_batch_and_company(backend: LocalBackend) -> None:
    asked = requests()
    alone = [told(Engine(backend).run(one)) for one in asked]
    for max_batch, max_rows, concurrency in ((1, 16, 1), (3, 40, 5), (64, 512, 8)):
        lm = Engine(backend, max_batch=max_batch, max_rows=max_rows)
        found = {id(done.request): told(done.answer) for done in lm.map(asked, concurrency)}
        assert [found[id(one)] for one in asked] == alone


def test_and_with_drafts(backend: LocalBackend) -> None:
    asked = requests()[:2]
    plain = [told(Engine(backend).run(one)) for one in asked]
    lm = Engine(backend, max_batch=3)
    lm.speculate = ot.drafter_of("hierarchy", lm)
    drafted = [lm.run(one) for one in asked]
    assert [told(answer)[:4] for answer in drafted] == [one[:4] for one in plain]
    assert sum(d.accepted for a in drafted if a.receipt for d in a.receipt.speculation.values()) > 0


def test_a_free_torch_pass_is_not(backend: LocalBackend) -> None:
    """What the mode is for: without it, log-probabilities in float32 depend on the batch."""
    kind = backend.kind.split()[0]
    before = torch.get_num_threads()
    free = ot.load("pocket-mini", dtype=kind, kernels="torch", threads=1).main.backend
    torch.set_num_threads(before)
    one = Request(STRATEGIES[0], load_task("steps").problem("test", 3), seed=5, sampling=SHORT)
    seen = [Engine(free, max_batch=most, max_rows=most).run(one) for most in (1, 64)]
    assert not any(answer.receipt.deterministic for answer in seen if answer.receipt)
    assert len({tuple(o.logprob for o in a.others) for a in seen}) == 2


def test_a_model_beside_it_that_is_not_is_said(backend: LocalBackend) -> None:
    lm = Engine(backend)
    lm.add(ot.load("pocket", dtype="float64", threads=1).main.backend)

    class Beside:
        async def __call__(self, root: ot.Branch, /) -> ot.Answer:
            other = await root.open("What is 1 + 1?", "pocket")
            return ot.Answer((await other.generate(SHORT)).text)

    answer = lm.run(Request(Beside(), "What is 1 + 1?"))
    assert answer.receipt is not None and not answer.receipt.deterministic


def test_where_it_cannot_be_promised_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ot.BadInput, match="deterministic"):
        ot.load("http://localhost:1/v1#m", deterministic=True)
    assert command(["solve", "a", "--model", "toy", "--deterministic", "--json", "--max-tokens", "3"]) == 0
    assert '"deterministic": true' in capsys.readouterr().out
