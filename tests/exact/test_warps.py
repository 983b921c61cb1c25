"""Warps see the exact prefix of each row: draws under them equal enumeration by hand, across forks too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.tasks import gather
from outthink.core.types import Answer, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.testing.enumerate import enumerate_runs

LOGITS = hashed(3, scale=1.5, seed=11)
PROMPT = (1, 2)


@dataclass(frozen=True)
class NoRepeat:
    """A warp of a user's own: never the token before. The state is that token."""

    def start(self, prompt: Sequence[int]) -> int:
        return prompt[-1]

    def next(self, state: int, token: int) -> int:
        return token

    def __call__(self, logits: torch.Tensor, states: Sequence[int]) -> torch.Tensor:
        return logits.scatter(1, torch.tensor(states)[:, None], -math.inf)


def by_hand(sampling: Sampling, written: tuple[int, ...]) -> list[float]:
    """The next-token distribution from the definitions, one token at a time."""
    row = list(LOGITS((*PROMPT, *written)))
    if sampling.warps:
        row[(*PROMPT, *written)[-1]] = -math.inf
    for token, bias in sampling.logit_bias:
        row[token] += bias
    for token in {*PROMPT, *written}:
        r = sampling.repetition_penalty
        row[token] = row[token] / r if row[token] > 0 else row[token] * r
    for token in set(written):
        row[token] -= sampling.presence_penalty + sampling.frequency_penalty * written.count(token)
    weights = [math.exp(x / sampling.temperature) for x in row]
    return [w / sum(weights) for w in weights]


def texts(sampling: Sampling, length: int) -> dict[tuple[int, ...], float]:
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(length):
        found = {
            (*written, token): p * q
            for written, p in found.items()
            for token, q in enumerate(by_hand(sampling, written))
            if q > 0
        }
    return found


@dataclass(frozen=True)
class Pieces:
    """Writes 2 tokens, forks, and writes 1 more on each branch: states must follow the fork."""

    async def __call__(self, root: Branch, /) -> Answer:
        await root.generate(Sampling(**{**SETTING, "max_tokens": 2}))
        one, two = root.fork(2)
        await gather(*(b.generate(Sampling(**{**SETTING, "max_tokens": 1})) for b in (one, two)))
        return Answer(repr((tuple(one.tokens), tuple(two.tokens))))


SETTING: dict[str, Any] = {}


@pytest.mark.parametrize(
    "setting",
    [
        {"repetition_penalty": 1.7},
        {"presence_penalty": 0.9, "frequency_penalty": 0.4},
        {"warps": (NoRepeat(),), "logit_bias": ((0, 0.7),)},
        {"repetition_penalty": 0.6, "frequency_penalty": -0.5, "temperature": 1.4},
    ],
    ids=str,
)
def test_distribution_under_warps(setting: dict[str, Any]) -> None:
    SETTING.clear()
    SETTING.update({"temperature": 1.0, "ignore_eos": True, **setting})
    sampling = Sampling(**SETTING)
    found = enumerate_runs(lambda: toy(LOGITS, 3), Request(Pieces(), "ab"), lambda a: a.text)
    for first, p in texts(sampling, 2).items():
        third = by_hand(sampling, first)
        for x, px in enumerate(third):
            for y, py in enumerate(third):
                key = repr(((*first, x), (*first, y)))
                assert math.isclose(found.get(key, 0.0), p * px * py, abs_tol=1e-9), key
    assert math.isclose(sum(found.values()), 1.0, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("stop", "keep", "text"),
    [(("b",), False, "a"), (("b",), True, "ab"), (("bc", "ab"), True, "ab"), (("zz",), False, "abcab")],
)
def test_stop_texts_cut_exactly(stop: tuple[str, ...], keep: bool, text: str) -> None:
    from outthink.backends.toy import scripted

    table = {"": {"a": 1.0}, "a": {"b": 1.0}, "b": {"c": 1.0}, "c": {"a": 1.0}}
    engine = Engine(toy(scripted(table, 30), 30))
    sampling = Sampling(temperature=0.0, max_tokens=5, stop=stop, keep_stop=keep)

    @dataclass(frozen=True)
    class Write:
        async def __call__(self, root: Branch, /) -> Answer:
            finish = await root.generate(sampling)
            assert finish.text == root.text()
            assert len(root.logps) == len(root)
            return Answer(finish.text, finish=finish.reason)

    assert engine.run(Request(Write(), "c")).text == text
    engine.main.tree.check()


@dataclass(frozen=True)
class Writing(NoRepeat):
    """The same, but it writes on what it is given."""

    def __call__(self, logits: torch.Tensor, states: Sequence[int]) -> torch.Tensor:
        return logits.scatter_(1, torch.tensor(states)[:, None], -math.inf)


@dataclass(frozen=True)
class Again:
    """The warped draw of a branch, then a plain one of its sibling, from the same row of logits."""

    warp: Any

    async def __call__(self, root: Branch, /) -> Answer:
        one, other = root.fork(2)
        await one.generate(Sampling(temperature=0.0, max_tokens=1, ignore_eos=True, warps=(self.warp,)))
        await other.generate(Sampling(temperature=0.0, max_tokens=1, ignore_eos=True))
        return Answer(f"{one.tokens[-1]} {other.tokens[-1]} {one.logps}", tokens=2)


def test_a_warp_may_write_on_what_it_is_given() -> None:
    """Rows are kept for later draws, and log-probabilities are those before warps."""
    told = []
    for warp in (NoRepeat(), Writing()):
        answers = [
            Engine(toy(hashed(3, scale=1.5, seed=seed), 3)).run(Request(Again(warp), "ab")).text
            for seed in range(6)
        ]
        told.append(answers)
    assert told[0] == told[1]
    assert any(text[0] != text[2] for text in told[0]), "the warp matters"
