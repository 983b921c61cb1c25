"""What is done once for many, or remembered, is what each would have had alone."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.jobs import Draw, Read
from outthink.core.types import Answer, Budget, Sampling, Want
from outthink.decode.sample import draw, draws_alike
from outthink.decode.statistics import read
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.stats import normalise
from outthink.strategy._conditional import forced

LOGITS = hashed(5, scale=2.0, seed=4)
UNTIL = {"max_tokens": 9, "stop": ("x",), "stop_tokens": (2,), "keep_stop": True, "ignore_eos": True}
OTHERS: dict[str, Any] = {
    "temperature": 0.7,
    "top_k": 2,
    "top_p": 0.9,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "logit_bias": ((1, 1.0),),
    "warps": (object(),),
    "stats": ("entropy",),
}


def test_samplings_that_only_end_otherwise_draw_alike() -> None:
    assert UNTIL.keys() | OTHERS.keys() == {field.name for field in fields(Sampling)}
    base = Sampling()
    assert all(draws_alike(base, replace(base, **{name: value})) for name, value in UNTIL.items())
    assert not any(draws_alike(base, replace(base, **{name: value})) for name, value in OTHERS.items())


def test_draws_together_are_those_apart() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    kinds = [
        Sampling(),
        Sampling(max_tokens=3),
        Sampling(1.3),
        Sampling(stats=("entropy",)),
        Sampling(top_k=2),
    ]
    draws = [Draw(i, 77 + i, 3 * i, kinds[i % len(kinds)], ()) for i in range(6)]
    apart = [draw(logits[i : i + 1], [one._replace(row=0)])[0] for i, one in enumerate(draws)]
    assert draw(logits, draws) == apart


def test_reads_together_are_those_apart() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    logits[2, 3] = logits[2, 4] = 9.0  # equal ones
    wants = [Want(top=3), Want(token=2), Want(top=9, stats=("entropy", "logz0.5")), Want(row=True), Want()]
    reads = [Read(i, want) for i, want in zip((4, 2, 2, 0, 1), wants, strict=True)]
    assert read(logits, reads) == [read(logits, [one])[0] for one in reads]
    whole = read(logits, [Read(2, Want(top=7, row=True))])[0]
    assert whole.row is not None and dict(whole.top) == dict(enumerate(whole.row))
    assert read(logits, [Read(2, Want(token=6))])[0].logprob == whole.row[6]


@dataclass(frozen=True)
class Forces:
    """The log-probabilities of a text at the branch's temperature."""

    tokens: tuple[int, ...]

    async def __call__(self, root: Branch, /) -> Answer:
        return Answer("", estimates=dict(enumerate(await forced(root, self.tokens))))  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 2.5])
def test_a_forced_text_has_the_probability_with_which_it_would_be_written(temperature: float) -> None:
    tokens, prefix = (3, 1, 4, 1), [1, 2]
    answer = Engine(toy(LOGITS, 5)).run(Request(Forces(tokens), "ab", sampling=Sampling(temperature)))
    for i, token in enumerate(tokens):
        probs = normalise(logit / temperature for logit in LOGITS(tuple(prefix)))
        assert answer.estimates[i] == pytest.approx(math.log(probs[token]), abs=1e-12)  # type: ignore[index]
        prefix.append(token)


@dataclass(frozen=True)
class Forks:
    """Texts below texts, some of them written back and anew."""

    seed: int

    async def __call__(self, root: Branch, /) -> Answer:
        rng, branches, seen = random.Random(self.seed), [root], set[tuple[int, ...]]()
        for _ in range(25):
            at = rng.choice(branches)
            if len(at) and rng.random() < 0.4:
                at.rewind(rng.randrange(len(at)))
            branches += at.fork(rng.choice((1, 2)))
            await branches[-1].generate(Sampling(max_tokens=rng.randint(1, 4), ignore_eos=True))
            tokens = branches[-1].tokens
            seen.update(tuple(tokens[:n]) for n in range(len(tokens)))  # the last token is not evaluated
            if rng.random() < 0.3:
                branches.pop(rng.randrange(1, len(branches))).close()
        return Answer("", tokens=len(seen))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("budget", [Budget(), Budget(positions=10**6)], ids=repr)
def test_each_distinct_token_is_counted_once_however_branches_fork(seed: int, budget: Budget) -> None:
    one = Engine(toy(LOGITS, 5, context=256))
    answer = one.run(Request(Forks(seed), "ab", budget, seed))
    assert answer.receipt is not None
    assert answer.receipt.logical.positions == answer.tokens + 1, "the prompt has two tokens"
    assert not one.runs
