"""A selector decides the same live and on the recorded samples of the same run; and its rules hold."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from outthink.backends.toy import hashed, toy
from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.samples import Choice, Sampled, Selector
from outthink.core.tasks import gather
from outthink.core.types import Answer, Sampling, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import (
    AdaptiveVote,
    BestOfMajority,
    BestOfN,
    ComplexityVote,
    DeepConf,
    ModelSwitch,
    Once,
    PerplexityConsistency,
    SetCover,
    Short,
    Vote,
    WeightedVote,
)
from outthink.strategy._mixture import Weibull, fit, likely
from outthink.strategy._select import poll, sampled
from outthink.strategy.deep_conf import group_confidences, quantile
from outthink.strategy.model_switch import consistency
from outthink.strategy.semantic_entropy import entropy
from outthink.strategy.set_cover import weighted_cover
from outthink.text import Extraction
from outthink.verify import Certainty, Likelihood

N = 6
VOCAB = 4
SAMPLING = Sampling(temperature=1.0, max_tokens=9)


@pytest.fixture(autouse=True)
def finals_are_first_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(text: str) -> Extraction:
        return Extraction(text[:1] or None, "the first letter")

    monkeypatch.setattr("outthink.strategy.once.final_answer", first)


@dataclass(frozen=True)
class Collect:
    """Keeps every sample, in the order of the forks, which are those of every parallel strategy."""

    kept: list[Sampled]

    async def __call__(self, root: Branch, /) -> Answer:
        root.record("certainty")
        answers = await gather(*(Once()(branch) for branch in root.fork(N)))
        self.kept.extend(sampled(a) for a in answers)
        return answers[0]


def ask(strategy: Any, seed: int) -> Answer:
    engine = Engine(toy(hashed(VOCAB, scale=1.2, seed=5), VOCAB, context=32), slots=2000)
    return engine.run(Request(strategy, "ab", seed=seed, sampling=SAMPLING))


def scored(samples: Sequence[Sampled], verifier: Any) -> list[Sampled]:
    if isinstance(verifier, Likelihood):
        return [replace(s, score=(s.logprob or 0.0) / s.tokens) for s in samples]
    return [replace(s, score=sum(s.stats["certainty"]) / s.tokens) for s in samples]


RULES: list[Any] = [
    Vote(n=N),
    BestOfN(Likelihood(), n=N),
    WeightedVote(Certainty(), n=N),
    WeightedVote(Likelihood(), n=N, weight="exp"),
    WeightedVote(Certainty(), n=N, weight="rank", power=2.0),
    Short(m=2, k=N),
    AdaptiveVote(n=N, wave=2, confidence=0.8),
    PerplexityConsistency(n=N),
    BestOfMajority(n=N, k=2),
    BestOfMajority(Certainty(), n=N, share=0.3),
    ComplexityVote(n=N),
    DeepConf(n=N, warmup=2, keep=0.5, window=2, check=3),
    DeepConf(n=N, warmup=2, keep=1.0, window=1, check=1),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_live_and_replay_agree(rule: Any) -> None:
    assert isinstance(rule, Selector)
    for seed in range(12):
        kept: list[Sampled] = []
        ask(Collect(kept), seed)
        samples = scored(kept, rule.verifier) if getattr(rule, "verifier", None) else kept
        choice, live = rule.select(samples), ask(rule, seed)
        assert live.receipt is not None
        assert kept[choice.picks[0]].text == live.text
        assert live.score == pytest.approx(choice.score, abs=1e-12)
        written = sum(s.tokens for s in kept[: choice.used]) if choice.written is None else choice.written
        assert live.receipt.logical.written == written


NAMES = ["1", "2", "1", None, "3", "2", "4"]


def samples_of(names: Sequence[str | None], scores: Sequence[float] | None = None) -> list[Sampled]:
    return [
        Sampled(name, f"{name} {i}", 5 + i, -1.0 - i, s, stats={"certainty": (1.0 + i, 2.0)})
        for i, (name, s) in enumerate(
            zip(names, scores or [float(i) for i in range(len(names))], strict=True)
        )
    ]


def test_ties_go_to_the_class_that_came_first_and_are_known() -> None:
    choice = poll(samples_of(["2", "1", "1", "2", "3"]))
    assert choice.picks == (0,) and choice.level == (0, 1) and choice.score == 0.4


def test_no_answer_never_wins_and_never_counts_as_one() -> None:
    assert Vote().select(samples_of([None, None, None, "7"])).picks == (3,)
    assert Vote().select(samples_of([None, "", "7"])).picks == (2,)
    assert BestOfMajority().select(samples_of([None, None, None, "7"])).picks == (3,)
    assert poll(samples_of([None, None])).score == 0.0


def test_spelling_is_no_difference() -> None:
    assert poll(samples_of(["2", "0.5", r"\frac{1}{2}", "1/2"])).picks == (1,)


def test_sums_do_not_depend_on_the_order() -> None:
    """0.1 + 0.2 + 0.3 in any order equals 0.6: a tie, whichever way it is added."""
    for order in itertools.permutations([0.1, 0.2, 0.3]):
        assert poll(samples_of(["a", "a", "a", "b"]), [*order, 0.6]).level == (0, 3)


@pytest.mark.parametrize("rule", [r for r in RULES if not getattr(r, "is_sequential", False)], ids=repr)
def test_a_permutation_of_the_samples_chooses_the_same_answers(rule: Any) -> None:
    samples = samples_of(NAMES, [0.3, 0.3, 0.1, 0.9, 0.2, 0.5, 0.7])
    one = rule.select(samples)
    truth = {samples[i].final for i in one.level}
    for seed in range(20):
        order = list(range(len(samples)))
        random.Random(seed).shuffle(order)
        other = rule.select([samples[i] for i in order])
        assert {samples[order[i]].final for i in other.level} == truth
        assert other.score == pytest.approx(one.score, abs=1e-15)


def test_best_of_majority_keeps_to_frequent_answers() -> None:
    names, rewards = ["1", "1", "1", "2", "2", "9"], [0.1, 0.2, 0.3, 0.8, 0.6, 5.0]
    samples = samples_of(names, rewards)
    assert BestOfMajority(Certainty(), share=0.3).select(samples).picks == (3,)
    assert BestOfMajority(Certainty(), share=0.5).select(samples).picks == (0,)
    assert BestOfMajority(Certainty(), share=0.0).select(samples).picks == (5,)
    assert BestOfMajority(Certainty(), share=1.0).select(samples).picks == (0,)  # none is: the largest
    assert BestOfMajority(Certainty(), k=2, share=0.3).select(samples).picks == (3, 0)


def test_complexity_with_everybody_is_the_vote() -> None:
    for seed in range(30):
        chance = random.Random(seed)
        samples = [
            Sampled(chance.choice("123"), "\n".join("x" * chance.randint(1, 5)) + "\n") for _ in range(7)
        ]
        assert ComplexityVote(share=1.0).select(samples) == Vote().select(samples)


def test_complexity_counts_lines_that_are_not_blank() -> None:
    samples = [Sampled("1", "a\n\n\n\n"), Sampled("1", "a\n"), Sampled("2", "a\nb\nc")]
    assert ComplexityVote(share=0.3).select(samples).picks == (2,)


def test_pruning_drops_the_unlikely() -> None:
    """Many unlikely paths to one answer, few likely ones to another: pruned, the few win."""
    samples = [Sampled("1", f"w{i}", 5, math.log(0.02 + i / 1e4)) for i in range(20)]
    samples += [Sampled("2", f"r{i}", 5, math.log(0.12 + i / 1e3)) for i in range(2)]
    assert PerplexityConsistency(pruned=False).select(samples).picks == (0,)
    assert PerplexityConsistency(pruned=True).select(samples).picks == (20,)


def test_one_path_found_twice_counts_once() -> None:
    samples = [Sampled("1", "same", 5, -1.0)] * 3 + [Sampled("2", "x", 5, -1.2), Sampled("2", "y", 5, -1.2)]
    assert PerplexityConsistency(pruned=False).select(samples).picks == (3,)


def test_a_weibull_is_recovered() -> None:
    chance = random.Random(0)
    values = [min(chance.weibullvariate(0.3, 2.5), 1.0) for _ in range(4000)]
    found = fit([math.log(v) for v in values], [1.0] * len(values))
    assert found.shape == pytest.approx(2.5, rel=0.05) and found.scale == pytest.approx(0.3, rel=0.02)
    logs, step = [math.log(v) for v in values], 0.02

    def likelihood(w: Weibull) -> float:
        return sum(math.log(w.density(v)) for v in values)

    assert len(logs) == len(values)
    for shape, scale in [(step, 0.0), (-step, 0.0), (0.0, step / 10), (0.0, -step / 10)]:
        assert likelihood(Weibull(found.shape + shape, found.scale + scale)) < likelihood(found)


def test_a_mixture_is_taken_apart() -> None:
    chance = random.Random(1)
    high = [0.7 + 0.2 * chance.random() for _ in range(30)]
    low = [0.05 * chance.random() + 0.001 for _ in range(70)]
    found = likely([*low, *high])
    assert max(found[:70]) < 0.5 < min(found[70:])


def test_group_confidence_and_its_quantile() -> None:
    assert group_confidences([1.0, 2.0, 6.0], 2) == [1.5, 4.0]
    assert group_confidences([1.0, 3.0], 5) == [2.0]
    assert [quantile([4.0, 1.0, 3.0, 2.0], share) for share in (0.25, 0.5, 0.9, 1.0)] == [4.0, 3.0, 1.0, 1.0]


def test_deep_conf_kills_early_and_pays_for_no_more() -> None:
    """Warm-up at 2; the second trace dips after 3 tokens and is looked at after 4."""
    stats = [[2.0, 2.0, 2.0], [3.0, 3.0, 0.5, 3.0, 3.0, 3.0], [2.0, 2.5]]
    samples = [Sampled(n, n, len(v), stats={"certainty": v}) for n, v in zip("123", stats, strict=True)]
    choice = DeepConf(n=3, warmup=1, keep=1.0, window=1, check=2).select(samples)
    assert choice.written == 3 + 4 + 2 and choice.weights == (2.0, 0.0, 2.0) and choice.level == (0, 2)


def test_deep_conf_says_what_it_lacks() -> None:
    with pytest.raises(BadInput, match="no 'certainty'"):
        DeepConf().select([Sampled("1", "x", 3)])


def test_a_cover_is_greedy_by_weight_and_complete() -> None:
    sets = [{1, 2, 3}, {1, 2}, {3, 4}, {4}]
    assert weighted_cover(sets, [1.0, 1.0, 1.0, 1.0], []) == [0, 2]
    assert weighted_cover(sets, [1.0, 9.0, 1.0, 1.0], []) == [1, 2]
    assert weighted_cover(sets, [1.0] * 4, [], share=0.7) == [0]
    assert weighted_cover(sets, [1.0] * 4, [3]) == [0, 3]
    assert weighted_cover([{1}, {1}], [1.0, 2.0], []) == [1]


def test_set_cover_writes_less_than_a_vote() -> None:
    pairs = [(ask(SetCover(n=N, every=2), seed), ask(Vote(n=N), seed)) for seed in range(8)]
    spent = [[a.receipt.logical.written for a in pair if a.receipt] for pair in pairs]
    assert all(own <= full for own, full in spent) and sum(own < full for own, full in spent) >= 6


def test_entropy_and_consistency() -> None:
    assert entropy(samples_of(["1", "1.0"])) == 0.0
    assert entropy(samples_of(["1", None, None, "2"])) == pytest.approx(math.log(4))
    assert entropy(samples_of(["1", "1", "2", "2"])) == pytest.approx(math.log(2))
    assert consistency(samples_of(["1", "1"])) == 1.0
    assert consistency(samples_of(["1", "2"])) == pytest.approx(1 - math.log(2) / math.log(3))


def of_systems(*systems: str) -> list[Sampled]:
    """Samples of several systems, one letter an answer."""
    return [Sampled(name, system=str(i), tokens=1) for i, names in enumerate(systems) for name in names]


def test_model_switch_asks_no_further_and_forgets_who_disagreed() -> None:
    rule = ModelSwitch(agree=0.6)
    assert rule.select(of_systems("11123", "99999")) == replace(
        poll(of_systems("11123", "99999"), [1.0] * 5 + [0.0] * 5), used=5
    )
    switched = rule.select(of_systems("11234", "55511", "99999"))  # together, 1 would have the most votes
    assert switched.picks == (5,) and switched.used == 10


def test_model_switch_weighs_models_by_their_consistency() -> None:
    """The votes are two each for 1 and 4; the model that says 4 twice is the more consistent."""
    choice = ModelSwitch().select(of_systems("123", "441"))
    assert choice.level == (3,) and choice.used == 6
    assert choice.weights[0] == pytest.approx(1 - math.log(3) / math.log(4))


def test_a_stop_text_is_found_across_chunks() -> None:
    """Chunked writing stops where one generate would, whatever the chunks."""

    @dataclass(frozen=True)
    class Chunked:
        size: int

        async def __call__(self, root: Branch, /) -> Answer:
            from outthink.strategy._chunks import Writing

            writing = Writing(root)
            while not writing.reason:
                await writing.go_on(self.size)
            return writing.answer()

    for kept, seed in itertools.product((False, True), range(10)):
        sampling = Sampling(temperature=1.0, max_tokens=20, stop=("ab", "ca"), keep_stop=kept)
        told = set()
        for strategy in (Once(), Chunked(1), Chunked(2), Chunked(3), Chunked(50)):
            engine = Engine(toy(hashed(VOCAB, scale=1.2, seed=5), VOCAB, context=64), slots=2000)
            answer = engine.run(Request(strategy, "ab", seed=seed, sampling=sampling))
            told.add((answer.text, answer.finish))
        assert len(told) == 1, told


def test_choices_are_plain_data() -> None:
    assert Choice((0,), (0,), 1.0) == Choice((0,), (0,), 1.0)
    assert Score(1.0) and not isinstance(Once(), Selector)
