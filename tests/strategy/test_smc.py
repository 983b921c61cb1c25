"""Sequential Monte Carlo inside the engine: what it costs, how it writes, what goes wrong and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from outthink.backends.toy import ALPHABET, hashed, scripted, toy
from outthink.core.errors import BadInput, Misuse
from outthink.core.rng import digest
from outthink.core.types import Answer, Budget, Candidate, Sampling, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import (
    Bidirectional,
    EntropicParticles,
    Metropolis,
    Once,
    ParticleGibbs,
    Particles,
    Twisted,
)
from outthink.testing.enumerate import enumerate_runs

VOCAB = len(ALPHABET)
SAMPLING = Sampling(temperature=1.0, max_tokens=24)


@dataclass(frozen=True)
class Told:
    """A verifier that gives what it is told, and keeps what it was asked."""

    score: Any = lambda text: Score(0.1 + digest(text) / 2**64)
    batches: list[list[str]] = field(default_factory=list, compare=False)
    records = ()

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        self.batches.append([c.text for c in candidates])
        return [self.score(c.text) for c in candidates]


def run(strategy: Any, sampling: Sampling = SAMPLING, **given: Any) -> tuple[Answer, Engine]:
    engine = Engine(toy(hashed(VOCAB, scale=5.0, shortest=12, seed=3), VOCAB, context=64), slots=4000)
    answer = engine.run(Request(strategy, "ab", sampling=sampling, **given))
    assert answer.receipt is not None
    return answer, engine


# ---------------------------------------------------------------------------------------------- cost


@pytest.mark.parametrize(
    "strategy",
    [
        Particles(Told(), n=8, threshold=1.0, tokens=3),
        Particles(Told(), n=6, tokens=2, moves=1),
        Particles(Told(), n=4, tokens=2, resampling="gumbel", expand=3),
        EntropicParticles(Told(), n=8, threshold=1.0, tokens=3, lookahead=2),
        Twisted(Told(), Told(), n=8, threshold=1.0, tokens=2),
        ParticleGibbs(Told(), n=4, sweeps=3, threshold=1.0, tokens=6),
        Metropolis(Told(), n=4, moves=6, tokens=3),
        Bidirectional(Told(), n=4, most=1.1, tokens=3),
    ],
    ids=repr,
)
def test_each_distinct_token_is_evaluated_once(strategy: Any) -> None:
    """Positions computed, by the receipt and by the model's own count, against distinct tokens."""
    answer, engine = run(strategy)
    assert answer.receipt is not None
    logical, actual = answer.receipt.logical, answer.receipt.actual
    assert actual.positions <= 1.05 * logical.positions
    assert engine.main.backend.model.rows == actual.positions  # type: ignore[attr-defined]
    assert logical.positions <= 2 + logical.written + logical.read
    assert logical.verified == sum(map(len, strategy.verifier.batches)) + sum(
        map(len, strategy.twist.batches) if isinstance(strategy, Twisted) else []
    )


def test_a_round_is_one_call_of_the_verifier_and_the_ended_are_not_judged_again() -> None:
    told = Told()
    answer, _ = run(Particles(told, n=8, threshold=0.0, tokens=3))
    assert len(told.batches) == answer.estimates["steps"] > 4
    before = ["" for _ in range(8)]
    for batch in told.batches:  # nobody is resampled: each text goes on one of the last round
        assert all(any(text.startswith(old) for old in before) for text in batch)
        assert len(batch) <= len(before)
        before = batch
    assert len(told.batches[-1]) < 8


def test_resampled_particles_go_their_own_ways() -> None:
    """Offspring of one parent write different texts: each has its own chance."""
    told = Told(lambda text: Score(1.0 if text.startswith(told.batches[0][0]) else 0.0))
    answer, _ = run(Particles(told, n=8, threshold=1.0, tokens=3))
    assert answer.estimates["ancestors"] == 1
    assert len({text[:6] for text in told.batches[1]}) >= 4


@pytest.mark.parametrize("part", [Particles, EntropicParticles])
def test_the_answer_is_of_the_population_before_any_resampling(part: Any) -> None:
    """Texts of one step, of which one weighs a thousand times the others: resampled, it would be all."""
    told = Told(lambda text: Score(1.0 if text == told.batches[0][0] else 0.001))
    answer, _ = run(part(told, n=8, threshold=1.0, step="", tokens=24))
    assert answer.estimates["resamplings"] == 0 and answer.estimates["ess"] < 4
    assert {answer.text, *(other.text for other in answer.others)} == set(told.batches[0])
    assert len(set(told.batches[0])) > 4


def test_a_budget_ends_with_the_best_of_those_that_have_ended() -> None:
    told = Told()
    free, _ = run(Particles(told, n=8, tokens=3))
    assert free.receipt is not None
    for cap in range(1, free.receipt.logical.written, 7):
        answer, _ = run(Particles(told, n=8, tokens=3), budget=Budget(written=cap))
        assert answer.receipt is not None
        assert answer.receipt.logical.written <= cap
        assert answer.receipt.finish.startswith("budget")


# --------------------------------------------------------------------------------------------- writing

LINES = {
    "": {"a": 0.5, "\n": 0.25, "b": 0.25},
    "a": {"b": 0.5, "\n": 0.5},
    "b": {"\n": 0.5, ".": 0.25, "a": 0.25},
    "\n": {"a": 0.5, "\n": 0.25, ".": 0.25},
}


def texts(strategy: Any, sampling: Sampling) -> dict[str, float]:
    request = Request(strategy, "ab", sampling=sampling)
    found = enumerate_runs(lambda: toy(scripted(LINES, VOCAB), VOCAB, context=8), request, lambda a: a.text)
    assert math.isclose(sum(found.values()), 1.0, abs_tol=1e-9)
    return found


@pytest.mark.parametrize("step", [{"step": "\n"}, {"step": "", "tokens": 1}, {"step": "\n", "tokens": 2}])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0, max_tokens=4),
        Sampling(temperature=1.0),  # up to the context
        Sampling(temperature=1.0, max_tokens=4, stop=("\n\n", "ba")),
        Sampling(temperature=1.0, max_tokens=4, stop=("\n\n", "ba"), keep_stop=True),
        Sampling(temperature=1.0, max_tokens=4, stop_tokens=(ALPHABET.index("b"),)),
        Sampling(temperature=1.0, max_tokens=4, stop_tokens=(ALPHABET.index("b"),), keep_stop=True),
    ],
    ids=["plain", "context", "stop", "kept", "token", "kept token"],
)
def test_writing_in_steps_gives_the_texts_of_writing_at_once(
    step: dict[str, Any], sampling: Sampling
) -> None:
    one = Particles(Told(lambda text: Score(1.0)), n=1, threshold=0.0, pick="draw", **step)
    whole = texts(Once(), sampling)
    assert len(whole) > 3
    found = texts(one, sampling)
    assert found.keys() == whole.keys()
    assert all(math.isclose(found[text], p, abs_tol=1e-9) for text, p in whole.items())


def test_a_step_is_a_line_with_something_on_it() -> None:
    told = Told(lambda text: Score(1.0))
    texts(Particles(told, n=1), Sampling(temperature=1.0, max_tokens=4))
    for [text] in told.batches:
        *before, last = text.removesuffix("\n").split("\n")
        is_step = text.endswith("\n") and last != ""
        assert is_step or len(text) == 4 or text[-1:] in ("b", "\n", ""), text


# ------------------------------------------------------------------------------------------- bad verifiers


@pytest.mark.parametrize(
    ("score", "fields", "error", "message"),
    [
        (lambda text: Score(math.nan), {}, Misuse, "not a score"),
        (lambda text: 0.5, {}, Misuse, "not a score"),
        (lambda text: Score(-0.5), {}, BadInput, "scale='log'"),
        (lambda text: Score(math.inf), {}, BadInput, "infinite"),
        (lambda text: Score(math.inf), {"scale": "log"}, BadInput, "infinite"),
        (lambda text: Score(1.0), {"over": "last"}, BadInput, "scored 0 steps"),
        (lambda text: Score(1.0, (math.nan,) * 30), {"over": "min"}, Misuse, "steps=.nan"),
    ],
)
def test_a_bad_score_ends_the_run_with_a_message(
    score: Any, fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(Particles(Told(score), n=3, tokens=3, **fields))


def test_a_wrong_number_of_scores_ends_the_run_with_a_message() -> None:
    @dataclass(frozen=True)
    class Short(Told):
        async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
            return [Score(1.0)]

    with pytest.raises(Misuse, match="gave 1 scores for 3"):
        run(Particles(Short(), n=3, tokens=3))


@pytest.mark.parametrize(
    "strategy",
    [
        Particles(Told(lambda text: Score(0.0)), n=3, tokens=3),
        EntropicParticles(Told(lambda text: Score(-math.inf)), n=3, tokens=3, scale="log"),
        Twisted(Told(lambda text: Score(0.0)), Told(), n=3, tokens=3),
        ParticleGibbs(Told(lambda text: Score(0.0)), n=3, tokens=3),
        Metropolis(Told(lambda text: Score(0.0)), n=3, tokens=3),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_without_survivors_the_answer_is_empty_and_says_so(strategy: Any) -> None:
    answer, _ = run(strategy)
    assert (answer.text, answer.final, answer.score) == ("", None, None)
    assert answer.finish == "dead: every text has weight 0"
    assert answer.estimates.get("log_z", -math.inf) == -math.inf


def test_without_an_exact_sample_there_is_no_upper_bound() -> None:
    answer, _ = run(Bidirectional(Told(lambda text: Score(0.0)), n=3, tries=4, tokens=3))
    assert answer.finish == "no exact sample: 0 of 1 in 4 tries"
    assert answer.estimates == {"lower": -math.inf, "tries": 4.0}
    with pytest.raises(BadInput, match="above most=0.5"):
        run(Bidirectional(Told(), n=3, most=0.5, tokens=3))
    zero = Told(lambda text: Score(float(len(text) >= 12)))
    with pytest.raises(BadInput, match="weighs nothing on its way.*give floor"):
        run(Bidirectional(zero, n=3, tokens=3))
    answer, _ = run(Bidirectional(zero, n=3, tokens=3, floor=0.1))
    assert answer.text and math.isfinite(answer.estimates["upper"])


def test_ancestors_need_plain_sampling() -> None:
    for changed in ({"top_k": 3}, {"stop": ("x",)}, {"temperature": 0.0}):
        with pytest.raises(BadInput, match="ancestors=False"):
            run(ParticleGibbs(Told(), n=3), replace(SAMPLING, **changed))
    answer, _ = run(ParticleGibbs(Told(), n=3, ancestors=False), replace(SAMPLING, top_k=3))
    assert answer.text


# ------------------------------------------------------------------------------------------------- claims


def test_annealing_keeps_more_ancestors_than_plain_resampling() -> None:
    """With a verifier that is too sure too early: after one resampling; after many, if they are reset."""
    sure = Told(lambda text: Score(40.0 * (digest(text[:3]) / 2**64)))

    def ancestors(kind: Any, tokens: int, **more: Any) -> float:
        fields = {"n": 8, "step": "", "tokens": tokens, "threshold": 1.0, "scale": "log", **more}
        return sum(run(kind(sure, **fields), seed=seed)[0].estimates["ancestors"] for seed in range(6)) / 6

    assert ancestors(EntropicParticles, 12) >= 2 * ancestors(Particles, 12)
    assert ancestors(EntropicParticles, 3, reset=True) >= 1.5 * ancestors(EntropicParticles, 3)


def test_reset_weights_claim_no_estimate() -> None:
    answer, _ = run(EntropicParticles(Told(), n=4, tokens=3, reset=True))
    assert "log_z" not in answer.estimates
    assert "log_z" in run(EntropicParticles(Told(), n=4, tokens=3))[0].estimates


def test_a_better_twist_gives_a_better_bound() -> None:
    """The mean of log Z^ over seeds rises towards log Z; without a twist, all is known only at the end."""
    last = Told(lambda text: Score(3.0 * sum(c in "abcdef" for c in text) / 2))
    none = Told(lambda text: Score(0.0))

    def lower(twist: Told) -> float:
        strategy = Twisted(last, twist, n=6, scale="log", threshold=0.7, tokens=2)
        return sum(run(strategy, seed=seed)[0].estimates["log_z"] for seed in range(12)) / 12

    assert lower(last) > lower(none) + 0.5
