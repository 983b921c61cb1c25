"""Sequential Monte Carlo on a model that can be enumerated: every random outcome with its probability."""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pytest
from smc_world import TEMPERATURE, Rewards, World, reward, same, written

from outthink.backends.toy import toy
from outthink.core.branch import Branch
from outthink.core.types import Answer, Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.stats import effective_sample_size
from outthink.strategy import Bidirectional, EntropicParticles, Particles, Twisted
from outthink.strategy import _smc as smc
from outthink.strategy._conditional import Sweep
from outthink.strategy._moves import Regrow
from outthink.strategy._potentials import Potential
from outthink.strategy._resampling import SCHEMES, Child
from outthink.strategy._smc import Rule
from outthink.strategy._writing import Particle, Writer
from outthink.text import split_steps

WORLD, NARROW, LONG = World(), World(vocab=2), World(vocab=2, longest=3)
STEP = {"a": 0.4, "\n": 0.6}
LINES = World(  # lines of one, two or three letters, so that beginnings of as many steps differ in length
    vocab=39,  # up to the line end
    longest=4,
    table={"aa": {"a": 1.0}, "aaa": STEP, "\n": {"a": 0.7, ".": 0.3}, "\na": STEP, "\naa": {"\n": 1.0}},
)

FIRST = World(vocab=2, table={"aa": {"a": 0.7, ".": 0.3}, "aaa": {"a": 1.0}})  # one step is drawn, not two
SECOND = World(vocab=2, table={"aa": {"a": 1.0}, "aaa": {"a": 0.7, ".": 0.3}})


def twist(text: str) -> float:
    return 0.2 + 0.5 * reward("twist" + text)


def never_b_last(text: str) -> float:
    """Some texts have no weight, and neither has everything that begins with b."""
    return 0.0 if text.endswith("b") or text.startswith("b") else reward(text)


def per_token(kind: Any = Particles, *given: Any, **fields: Any) -> Any:
    return kind(*(given or (Rewards(),)), **{"n": 2, "step": "", "tokens": 1, "pick": "draw", **fields})


CASES: list[tuple[Any, World]] = [
    (per_token(threshold=1.0), WORLD),
    (per_token(threshold=0.9), WORLD),
    (per_token(threshold=0.0), NARROW),
    (per_token(threshold=1.0, resampling="stratified"), WORLD),
    (per_token(threshold=1.0, resampling="multinomial"), WORLD),
    (per_token(threshold=1.0, resampling="residual"), WORLD),
    (per_token(n=1, expand=2, threshold=1.0), WORLD),
    (per_token(n=1, expand=3, resampling="optimal"), NARROW),
    (per_token(expand=2, resampling="optimal"), FIRST),
    (per_token(expand=2, resampling="optimal"), SECOND),
    (per_token(moves=1, threshold=0.9), WORLD),
    (per_token(n=3, threshold=1.0), NARROW),
    (per_token(EntropicParticles, threshold=1.0, entropy=0.99), WORLD),
    (per_token(EntropicParticles, threshold=1.0, entropy=0.5, lookahead=1), NARROW),
    (per_token(Twisted, Rewards(), Rewards(twist), threshold=1.0), WORLD),
]


def shown(value: object) -> str:
    """A name of a case that is the same in every process."""
    return re.sub(r" at 0x\w+", "", repr(value))[:110]


@pytest.mark.parametrize(("strategy", "world"), CASES, ids=shown)
def test_the_estimate_of_every_texts_weight_is_unbiased(strategy: Any, world: World) -> None:
    found = world.weighted(strategy)
    assert same(found, world.target()), (found, world.target())


def test_without_replacement_by_noise_the_mean_of_z_is_z_within_four_standard_errors() -> None:
    """Gumbel noise has too many values to enumerate: 600 seeds, fixed. All other schemes are above."""
    schemes = {getattr(strategy, "resampling", "systematic") for strategy, _ in CASES}
    assert schemes == set(SCHEMES) - {"gumbel"}
    strategy, sampling = per_token(n=3, expand=2, resampling="gumbel"), Sampling(TEMPERATURE, max_tokens=2)
    engine = Engine(toy(WORLD.logits, WORLD.vocab, context=16))
    found = []
    for seed in range(600):
        answer = engine.run(Request(strategy, "aa", sampling=sampling, seed=seed))
        found.append(math.exp(answer.estimates["log_z"]))
    mean, truth = statistics.fmean(found), sum(WORLD.target().values())
    error = statistics.stdev(found) / math.sqrt(len(found))
    assert error < 0.03 * truth and abs(mean - truth) < 4 * error


def test_the_batch_changes_nothing() -> None:
    strategy = per_token(threshold=1.0)
    assert same(NARROW.weighted(strategy, max_batch=1), NARROW.weighted(strategy))


def not_aa(text: str) -> float:
    return 0.0 if text == "aa" else reward(text)


@pytest.mark.parametrize(
    ("strategy", "world"),
    [
        (per_token(Particles, Rewards(never_b_last), threshold=1.0), WORLD),
        (per_token(EntropicParticles, Rewards(never_b_last), threshold=1.0), WORLD),
        (per_token(EntropicParticles, Rewards(not_aa), threshold=1.0, lookahead=1), NARROW),
    ],
    ids=shown,
)
def test_texts_without_weight_are_left_out_and_a_dead_population_counts_as_zero(
    strategy: Any, world: World
) -> None:
    truth = world.target(strategy.verifier.function)
    assert 0.0 in truth.values()
    assert same(world.weighted(strategy), truth)
    ends = world.runs(strategy, lambda a: (a.finish, a.estimates["log_z"], a.text))
    dead = {end: p for end, p in ends.items() if end[0].startswith("dead")}  # type: ignore[index]
    assert set(dead) == {("dead: every text has weight 0", -math.inf, "")}
    assert all(math.isfinite(end[1]) for end in ends if end not in dead)  # type: ignore[index]


def test_the_answer_by_vote_of_one_particle_is_a_sample_of_the_model() -> None:
    """One particle is never resampled: the weight goes into log Z, not into the text."""
    found = WORLD.runs(per_token(n=1, threshold=1.0), lambda a: a.text)
    assert same(found, WORLD.target(lambda text: 1.0))  # type: ignore[arg-type]


def test_equal_rewards_give_equal_probabilities_whoever_stops_early() -> None:
    flat = per_token(Particles, Rewards(lambda text: 0.3), threshold=1.0)
    answers = WORLD.runs(flat, lambda a: (a.text, a.estimates["resamplings"], a.estimates["log_z"]))
    assert {(n, round(z, 9)) for _, n, z in answers} == {(0.0, round(math.log(0.3), 9))}  # type: ignore[misc]
    texts: dict[str, float] = {}
    for (text, _, _), p in answers.items():  # type: ignore[misc]
        texts[text] = texts.get(text, 0.0) + p
    assert same(texts, WORLD.target(lambda text: 1.0))


# ------------------------------------------------------------------------------------ Markov chains


@dataclass(frozen=True)
class Start:
    """One step of a chain from a given text: of particle Gibbs, or of Metropolis-Hastings."""

    tokens: tuple[int, ...]
    n: int = 2
    ancestors: bool = False
    metropolis: bool = False
    threshold: float = 1.0
    step: tuple[str, int | None] = ("", 1)

    def ends(self) -> tuple[int, ...]:
        """After every token, or after every line with something on it, and at the end."""
        size = len(self.tokens)
        if self.step[1]:
            return tuple(range(1, size + 1))
        lines = [line for line in split_steps(written(self.tokens)) if line.endswith("\n")]
        return tuple(dict.fromkeys([*accumulate(map(len, lines)), size]))

    async def __call__(self, root: Branch, /) -> Answer:
        writer, potential = Writer.on(root, *self.step), Potential(Rewards())
        kept = Particle(root.fork()[0], ends=self.ends())
        kept.finish = "eos" if self.tokens[-1] == 0 else "length"
        await kept.branch.extend(self.tokens)
        [kept.logpsi] = await potential([kept])
        if self.metropolis:
            await Regrow(writer, potential)([kept], math.inf, root)
            return kept.answer()
        rule = Rule(self.n, "multinomial", self.threshold)
        found = await Sweep(writer, potential, rule, kept, self.ancestors).run(root)
        at = root.chance("keep").draw([p.logw for p in found.particles])
        return Answer(found.particles[at].text, estimates={"log_z": found.log_z})


CHAINS = [
    ({"metropolis": True}, WORLD),
    ({"metropolis": True}, LONG),
    ({"ancestors": False}, WORLD),
    ({"ancestors": True}, WORLD),
    ({"ancestors": True, "threshold": 0.9}, LONG),
    ({"ancestors": True}, LONG),
    ({"ancestors": True, "n": 3}, NARROW),
    ({"ancestors": True, "step": ("\n", None)}, LINES),
    ({"metropolis": True, "step": ("\n", None)}, LINES),
]


@pytest.mark.parametrize(("fields", "world"), CHAINS, ids=repr)
def test_one_step_of_the_chain_leaves_the_posterior_as_it_is(fields: dict[str, Any], world: World) -> None:
    truth = world.target()
    found: dict[str, float] = {}
    for tokens, p in world.texts().items():
        for text, q in world.runs(Start(tokens, **fields), lambda a: a.text).items():
            found[text] = found.get(text, 0.0) + p * reward(written(tokens)) * q  # type: ignore[index, arg-type]
    assert same(found, truth), (found, truth)


def test_sampling_ancestors_renews_the_beginning_more_often() -> None:
    def renewed(ancestors: bool) -> float:
        """The stationary probability that a sweep of two particles changes the first token."""
        total = sum(WORLD.target().values())
        return sum(
            p * reward(written(tokens)) / total * q
            for tokens, p in WORLD.texts().items()
            for text, q in WORLD.runs(Start(tokens, ancestors=ancestors), lambda a: a.text).items()
            if text[:1] != written(tokens)[:1]  # type: ignore[index]
        )

    assert renewed(True) > 1.2 * renewed(False)


def test_log_z_lies_between_its_bounds_and_the_gap_shrinks() -> None:
    """And given an exact sample, the mean of 1 / Z^ is exactly 1 / Z."""
    log_z, gaps = math.log(sum(NARROW.target().values())), []
    for n in (2, 3):
        lower = sum(
            p * z  # type: ignore[operator]
            for z, p in NARROW.runs(per_token(n=n, threshold=1.0), lambda a: a.estimates["log_z"]).items()
        )
        upper = inverse = 0.0
        for tokens, p in NARROW.texts().items():
            weight = p * reward(written(tokens)) / math.exp(log_z)
            for z, q in NARROW.runs(Start(tokens, n=n), lambda a: a.estimates["log_z"]).items():
                upper += weight * q * z  # type: ignore[operator]
                inverse += weight * q * math.exp(-z)  # type: ignore[operator]
        assert math.isclose(inverse, math.exp(-log_z), rel_tol=1e-9)
        assert lower < log_z < upper
        gaps.append(upper - lower)
    assert gaps[1] < gaps[0]


def test_bidirectional_answers_with_an_exact_sample() -> None:
    """Given that one was found, it is distributed as the posterior."""
    strategy = Bidirectional(Rewards(), n=2, tries=2, step="", tokens=1, threshold=0.0)
    ends = NARROW.runs(strategy, lambda a: (a.text, a.finish.partition(":")[0], "upper" in a.estimates))
    taken = {text: p for (text, finish, _), p in ends.items() if finish != "no exact sample"}  # type: ignore[misc]
    assert all(upper == (finish != "no exact sample") for _, finish, upper in ends)  # type: ignore[misc]
    target = NARROW.target()
    assert same(
        {t: p / sum(taken.values()) for t, p in taken.items()},
        {t: w / sum(target.values()) for t, w in target.items()},
    )


# ------------------------------------------------------------------------------- wrong versions are caught


def wrong_reset(scheme: str, logw: Any, n: int, chance: Any, logq: Any = None) -> Any:
    """Offspring keep the weights of their parents."""
    return [Child(c.parent, logw[c.parent]) for c in RIGHT(scheme, logw, n, chance, logq)]


def wrong_divisor(scheme: str, logw: Any, n: int, chance: Any, logq: Any = None) -> Any:
    """The mean is taken over n - 1."""
    children = RIGHT(scheme, logw, n, chance, logq)
    return [Child(c.parent, c.logw + math.log(n / (n - 1))) for c in children]


RIGHT = smc.resample


@pytest.mark.parametrize("wrong", [wrong_reset, wrong_divisor])
def test_a_wrong_resampling_is_caught(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smc, "resample", wrong)
    assert not same(WORLD.weighted(per_token(threshold=1.0)), WORLD.target())


def test_dropping_those_that_have_ended_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = smc.buried

    def wrong(particles: Any, keep: bool) -> Any:
        going = [p for p in right(particles, keep) if not p.finish]
        return going or right(particles, keep)

    monkeypatch.setattr(smc, "buried", wrong)
    assert not same(WORLD.weighted(per_token(threshold=1.0)), WORLD.target())


def test_multiplying_the_whole_reward_at_every_step_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(potentials: Any, particles: Any) -> None:
        for particle, now in zip(particles, await potentials(particles), strict=True):
            particle.logw += now

    monkeypatch.setattr(smc, "weigh", wrong)
    assert not same(WORLD.weighted(per_token(threshold=1.0)), WORLD.target())


def test_the_effective_sample_size_is_counted_before_resampling() -> None:
    population = [Particle(None, logw=w) for w in (0.0, -1.0, -3.0)]  # type: ignore[arg-type]
    size = effective_sample_size([0.0, -1.0, -3.0])
    assert Rule(3, threshold=size / 3 + 1e-9).is_due(population)
    assert not Rule(3, threshold=size / 3 - 1e-9).is_due(population)
    after = [Particle(None, logw=-1.0) for _ in range(3)]  # type: ignore[arg-type]
    assert not Rule(3, threshold=0.99).is_due(after)
    counts = WORLD.runs(per_token(threshold=1.0), lambda a: a.estimates["resamplings"])
    assert counts.get(1.0, 0.0) > 0.3
