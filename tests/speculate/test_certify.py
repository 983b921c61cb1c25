"""The certificate: margins mean what they say, and a rule that changes a text is caught."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

import outthink as ot
from outthink.bench.certify import SAMPLINGS, certify
from outthink.bench.tasks.steps import Steps
from outthink.cli import run
from outthink.core.draft import Draft
from outthink.core.drafting import Accepted, Target
from outthink.core.jobs import Draw
from outthink.core.rng import Chance
from outthink.core.types import Sampling
from outthink.decode.margin import margin
from outthink.decode.sample import draw, warps_of
from outthink.engine.engine import Engine
from outthink.speculate.draft_model import DraftModel
from outthink.speculate.rules.match import Match
from outthink.strategy.once import Once
from outthink.strategy.vote import Vote

CASES = [
    Sampling(temperature=0.0),
    Sampling(temperature=0.7),
    Sampling(temperature=1.0, top_p=0.6),
    Sampling(temperature=1.3, min_p=0.1, top_k=9),
    Sampling(temperature=0.9, repetition_penalty=1.3, frequency_penalty=0.2, logit_bias=((2, 1.0),)),
]


def drawing(sampling: Sampling, seed: int) -> Draw:
    states = []
    for warp in warps_of(sampling):
        state = warp.start([1, 2])
        for token in (3, 3, 5):
            state = warp.next(state, token)
        states.append(state)
    return Draw(0, 1000 + seed, 5, sampling, tuple(states))


@pytest.mark.parametrize("sampling", CASES, ids=str)
def test_no_change_below_half_the_margin_alters_a_draw(sampling: Sampling) -> None:
    """Two logits that move against each other close a gap twice as fast: hence the half."""
    made = torch.Generator().manual_seed(7)
    for seed in range(60):
        logits = 3 * torch.randn(40, generator=made, dtype=torch.float64)
        one = drawing(sampling, seed)
        [before] = draw(logits[None], [one])
        # a penalty stretches a logit by at most its own factor
        size = 0.5 * margin(logits, one) / sampling.repetition_penalty
        for _ in range(20):
            shift = torch.rand(40, generator=made, dtype=torch.float64) * 2 - 1
            [after] = draw((logits + size * shift.sign() * 0.999)[None], [one])
            assert after.token == before.token


@pytest.mark.parametrize("sampling", CASES[:2], ids=str)
def test_the_margin_is_reached(sampling: Sampling) -> None:
    """Without cuts it is no bound but the number itself: one logit moved by a little more alters the draw."""
    made = torch.Generator().manual_seed(3)
    for seed in range(20):
        logits = 3 * torch.randn(40, generator=made, dtype=torch.float64)
        one = drawing(sampling, seed)
        [before] = draw(logits[None], [one])
        size = 1.001 * margin(logits, one)
        changed = [
            draw((logits + size * torch.eye(40, dtype=torch.float64)[v])[None], [one])[0].token
            for v in range(40)
        ]
        assert set(changed) - {before.token}


@pytest.fixture(scope="module")
def engine() -> Engine:
    lm = ot.load("pocket-mini", dtype="float64", threads=1)
    lm.speculate = ot.drafter_of("draft_model(model='pocket')", lm)
    return lm


def test_float64_is_identical(engine: Engine) -> None:
    lines = certify(
        engine, DraftModel("pocket"), Steps(), [("once", Once()), ("vote", Vote(n=3))], 2, max_tokens=40
    )
    assert len(lines) == 2 * len(SAMPLINGS)
    assert all(line.identical == line.texts and not line.partings for line in lines)
    assert [line.texts for line in lines] == [2, 2, 2, 6, 6, 6]
    assert all(line.per_step > 1.5 for line in lines), "hardly anything was accepted"


class Hasty(Match):
    """Wrong on purpose: takes the first child unseen."""

    def __call__(
        self, target: Target, draft: Draft, chance: Callable[[str], Chance], position: int
    ) -> Accepted:
        path, at = [], -1
        while (child := next((i for i, p in enumerate(draft.parents) if p == at and target.has(i)), -1)) >= 0:
            path.append(child)
            at = child
        return Accepted(tuple(path), target.token(at))


def test_a_wrong_rule_is_caught(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outthink.engine.speculator.Match", Hasty)
    monkeypatch.setattr(
        "outthink.engine.speculator._as_written", lambda drawn, token: drawn._replace(token=token)
    )
    [line] = certify(
        engine, DraftModel("pocket"), Steps(), [("once", Once())], 4, samplings=SAMPLINGS[1:2], max_tokens=60
    )
    assert line.partings and not line.is_explained(1e-4)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "certify",
        "--model",
        "pocket-mini",
        "--speculate",
        "draft_model(model='pocket', n=2)",
        "-n",
        "1",
    ]
    assert run([*given, "--strategies", "once", "--max-tokens", "20", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["certified"] and told["texts"] == told["identical"] == 3
    assert run(["certify", "--speculate", "none"]) == 2
    assert "name a drafter" in capsys.readouterr().err


def test_a_wrong_rule_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, where the margin is above epsilon; 0 where epsilon is beyond all margins."""
    monkeypatch.setattr(Match, "__call__", Hasty.__call__)
    monkeypatch.setattr(
        "outthink.engine.speculator._as_written", lambda drawn, token: drawn._replace(token=token)
    )
    given = [
        "certify",
        "--model",
        "pocket-mini",
        "--speculate",
        "copy(m=1)",
        "-n",
        "2",
        "--strategies",
        "once",
    ]
    given += ["--max-tokens", "40", "--json"]
    assert run(given) == 1
    told = json.loads(capsys.readouterr().out)
    worst = max(one["largest_margin"] or 0.0 for one in told["runs"])
    assert not told["certified"] and told["identical"] < told["texts"] and worst > 1e-4
    [parting, *_] = [p for one in told["runs"] for p in one["partings"]]
    assert {"problem", "branch", "position", "margin"} <= parting.keys()
    assert run([*given, "--epsilon", str(2 * worst)]) == 0


@pytest.mark.parametrize("option", [("--temperature", "0.3"), ("--top-p", "0.5"), ("--budget", "written=9")])
def test_options_that_would_change_nothing_are_refused(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["certify", "--speculate", "copy", *option]) == 2
    assert f"leave {option[0]} out" in capsys.readouterr().err
