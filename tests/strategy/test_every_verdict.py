"""Every strategy that calls a verifier, whatever it hears: an error by name, no word, more than a number can
hold, texts of which nothing is left. And how often it is called."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from outthink.backends.toy import ALPHABET, toy
from outthink.backends.toy import scripted as tabled
from outthink.core.errors import BadInput, Misuse, VerifierFailed
from outthink.core.samples import Sampled
from outthink.core.tasks import offload
from outthink.core.types import Answer, Budget, Candidate, Sampling, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.strategy import (
    AbMcts,
    AdaptiveVote,
    AStar,
    Beam,
    BestOfMajority,
    BestOfN,
    Bidirectional,
    ComplexityVote,
    CotDecode,
    DeepConf,
    Dvts,
    EntropicParticles,
    Fractured,
    Iad,
    Lookahead,
    Mcts,
    Metropolis,
    Mits,
    ModelSwitch,
    ParticleGibbs,
    Particles,
    PerplexityConsistency,
    Rebase,
    SemanticEntropy,
    SetCover,
    Short,
    Temperatures,
    Tot,
    Twisted,
    Vote,
    WeightedVote,
)
from outthink.testing.scripted import scripted
from outthink.verify import Certainty, Combine, Likelihood

Make = Callable[[Any], Any]
SAMPLING = Sampling(temperature=1.0)
SAID = {"1+1=2\nA: 2": 0.4, "A: 3": 0.3, "so\nso\nso": 0.3}  # of one step, two and three

SELECTIONS: dict[str, Make] = {
    "best_of_n": lambda v: BestOfN(v, n=6),
    "best_of_n(combine)": lambda v: BestOfN(Combine((v, Likelihood())), n=3),
    "weighted_vote": lambda v: WeightedVote(v, n=6),
    "weighted_vote(exp)": lambda v: WeightedVote(v, n=6, weight="exp"),
    "weighted_vote(rank)": lambda v: WeightedVote(v, n=6, weight="rank"),
    "best_of_majority": lambda v: BestOfMajority(v, n=6),
}
SEARCHES: dict[str, Make] = {
    "a_star": lambda v: AStar(v, expand=3, expansions=8),
    "ab_mcts": lambda v: AbMcts(v, simulations=8),
    "ab_mcts(gaussian)": lambda v: AbMcts(v, simulations=8, posterior="gaussian", rollout=False),
    "beam": lambda v: Beam(v, width=2, expand=3),
    "dvts": lambda v: Dvts(v, trees=2, expand=3),
    "dvts(vote)": lambda v: Dvts(v, trees=2, expand=3, select="vote"),
    "iad": lambda v: Iad(v, rounds=2),
    "lookahead": lambda v: Lookahead(v, width=2, expand=3),
    "mcts": lambda v: Mcts(v, simulations=5, expand=3),
    "mcts(rollout)": lambda v: Mcts(v, simulations=5, expand=3, rollout=True, select="vote"),
    "rebase": lambda v: Rebase(v, n=6),
    "tot": lambda v: Tot(v, width=2, expand=3),
    "tot(depth)": lambda v: Tot(v, order="depth", expand=3, solutions=3),
}
SMC: dict[str, Make] = {
    "bidirectional": lambda v: Bidirectional(v, n=4),
    "bidirectional(twist)": lambda v: Bidirectional(Fine(), v, n=4, floor=0.1),
    "entropic_particles": lambda v: EntropicParticles(v, n=4, lookahead=1, threshold=1.0),
    "metropolis": lambda v: Metropolis(v, n=2, moves=3),
    "particle_gibbs": lambda v: ParticleGibbs(v, n=4, sweeps=2, threshold=1.0),
    "particles": lambda v: Particles(v, n=4, threshold=1.0),
    "particles(moves)": lambda v: Particles(v, n=4, threshold=1.0, moves=1),
    "twisted": lambda v: Twisted(v, Fine(), n=4, threshold=1.0),
    "twisted(twist)": lambda v: Twisted(Fine(), v, n=4, threshold=1.0),
}
ALL = SELECTIONS | SEARCHES | SMC


def fine(text: str) -> float:
    return 0.9 if "2" in text else 0.5


@dataclass(frozen=True)
class Fine:
    """A verifier that knows the text only, and keeps what it was asked."""

    function: Callable[[str], float] = fine
    batches: list[list[str]] = field(default_factory=list, compare=False)
    records = ()

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        self.batches.append([c.text for c in candidates])
        return [Score(self.function(c.text)) for c in candidates]


@dataclass(frozen=True)
class Bad(Fine):
    """One that is fine but for its call number `at`."""

    how: str = ""
    at: int = 0
    seconds: float | None = None

    async def __call__(self, candidates: Sequence[Candidate], /) -> Any:
        scores: list[Any] = await Fine.__call__(self, candidates)
        if len(self.batches) != self.at:
            return scores
        if self.how == "raises":
            raise RuntimeError("the judge is out")
        if self.how == "hangs":
            await offload(time.sleep, 3, io=True)
        if self.how == "steps":
            return [Score(0.5, (0.5, math.nan)), *scores[1:]]
        return {
            "nan": [Score(math.nan), *scores[1:]],
            "fewer": scores[1:],
            "more": [*scores, Score(1.0)],
            "mixed": [0.5, *scores[1:]],
            "nothing": None,
        }.get(self.how, scores)


def talker(said: Mapping[str, float] = SAID) -> Engine:
    return Engine(scripted(lambda question: said))


def run(strategy: Any, said: Mapping[str, float] = SAID, **given: Any) -> Answer:
    return talker(said).run(Request(strategy, "q", **{"sampling": SAMPLING, **given}))


# ------------------------------------------------------------------------------------- what is wrong is named

WRONG: list[tuple[str, type[Exception], str]] = [
    ("raises", VerifierFailed, "raised RuntimeError: the judge is out"),
    ("hangs", VerifierFailed, r"took longer than its 0.05 s for \d+ candidates"),
    ("nan", Misuse, "gave .*nan.* which is not a score"),
    ("steps", Misuse, "gave .*nan.* which is not a score"),
    ("fewer", Misuse, r"gave \d+ scores for \d+ candidates"),
    ("more", Misuse, r"gave \d+ scores for \d+ candidates"),
    ("mixed", Misuse, "gave 0.5, which is not a score"),
    ("nothing", Misuse, r"gave 0 scores for \d+ candidates"),
]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("how", "kind", "message"), WRONG, ids=[how for how, _, _ in WRONG])
def test_what_is_wrong_at_any_call_ends_the_run_with_the_verifiers_name(
    name: str, how: str, kind: type[Exception], message: str
) -> None:
    """At the first call and at the last; nothing is held after, and the engine serves the next request."""
    good = Fine()
    run(ALL[name](good))
    for at in {1, len(good.batches)}:
        engine = talker()
        bad = Bad(how=how, at=at, seconds=0.05 if how == "hangs" else None)
        with pytest.raises(kind, match=message) as caught:
            engine.run(Request(ALL[name](bad), "q", sampling=SAMPLING))
        assert "Bad(" in str(caught.value)
        engine.main.tree.check()
        assert not [node for node in engine.main.tree.nodes() if node.cursors]
        assert engine.run(Request(Vote(n=2), "q", sampling=SAMPLING)).text in SAID


# ------------------------------------------------------------------------------------------------- no word


def silent_on(part: str) -> Fine:
    return Fine(lambda text: -math.inf if part in text else 0.5)


@pytest.mark.parametrize("name", ALL)
def test_no_word_weighs_nothing_and_ends_nothing(name: str) -> None:
    """Where others got a word, a text without one is the answer only where it is no worse for it."""
    for seed in range(4):
        answer = run(ALL[name](silent_on("so")), seed=seed)
        assert answer.score is None or not math.isnan(answer.score)
        if answer.text.startswith("so"):
            assert all(other.text.startswith("so") for other in answer.others), (seed, answer)


@pytest.mark.parametrize("name", ALL)
def test_where_nothing_got_a_word_there_is_an_answer_or_a_dead_population(name: str) -> None:
    answer = run(ALL[name](silent_on("")))
    if name in SMC and name not in ("bidirectional(twist)", "twisted(twist)"):
        assert (answer.text, answer.final) == ("", None)
        assert answer.finish.partition(":")[0] in ("dead", "no exact sample")
    elif name not in SMC:
        assert answer.text in SAID


def test_no_word_is_left_out_of_the_mean_of_a_class() -> None:
    scores = [-math.inf, 0.9, 0.5, 0.5, -math.inf]
    samples = [Sampled(name, score=s) for name, s in zip("11223", scores, strict=True)]
    choice = BestOfMajority(Fine(), share=0.0).select(samples)
    assert (choice.picks, choice.score) == ((0,), 0.9)
    assert BestOfMajority(Fine(), k=3, share=0.0).select(samples).picks == (0, 2, 4)


def test_no_word_does_not_count_even_where_all_count_alike() -> None:
    samples = [Sampled("1", score=-math.inf), Sampled("1", score=-math.inf), Sampled("2", score=0.1)]
    for weight in ("value", "exp", "rank"):
        assert WeightedVote(Fine(), weight=weight, power=0.0).select(samples).picks == (2,)


def test_no_word_leaves_the_means_above_as_they_are() -> None:
    from outthink.strategy._steps import Node
    from outthink.strategy.mcts import backup

    root = Node(None)  # type: ignore[arg-type]
    child = Node(None, parent=root)  # type: ignore[arg-type]
    backup(child, 0.5)
    backup(Node(None, parent=child), -math.inf)  # type: ignore[arg-type]
    assert (child.visits, child.total, root.visits, root.total) == (2, 1.0, 2, 1.0)
    backup(Node(None, parent=child), 0.2)  # type: ignore[arg-type]
    assert child.total == pytest.approx(1.2)


# ------------------------------------------------------------------------------------------ more than numbers


@pytest.mark.parametrize("name", [*SELECTIONS, *SEARCHES])
def test_infinite_scores_outweigh_all_others_and_are_never_nan(name: str) -> None:
    endless = Fine(lambda text: math.inf if "2" in text else 0.5)
    if name.startswith("a"):
        with pytest.raises(BadInput, match="gave inf"):
            run(ALL[name](endless))
        return
    for seed in range(4):
        answer = run(ALL[name](endless), seed=seed)
        assert answer.score is not None and not math.isnan(answer.score)
        heard = {a.final for a in (answer, *answer.others)}
        sums = name not in ("weighted_vote(rank)", "best_of_majority")  # ranks and frequencies are finite
        assert answer.final == "2" if "2" in heard and sums else answer.final in heard


def test_a_question_that_alone_makes_a_text_possible_is_infinite_information() -> None:
    """Below the blank prompt the text has probability 0: the mutual information is infinite, not NaN."""
    ways = {"1": 0.5, "2": 0.5}
    table = {x: {y: 1.0} for x, y in ("QA", "A:", ": ", "1.", "2.")} | {" ": ways, "QQA: ": {"2": 1.0}}
    size = len(ALPHABET)
    for seed in range(4):
        engine = Engine(toy(tabled(table, size), size))
        part = Mits(width=2, expand=4, blank="QQ")
        answer = engine.run(Request(part, "Q", sampling=SAMPLING, seed=seed))
        assert {a.final for a in (answer, *answer.others)} == {"1", "2"}
        assert (answer.final, answer.score) == ("1", 1.0)


# ----------------------------------------------------------------------------- nothing is left of a text

STOPPED = Sampling(temperature=1.0, stop=("A",))
BLANK = {"A: 2": 0.5, "\\boxed{3}": 0.5}
PARTS: list[Any] = [
    AdaptiveVote(n=6, wave=2),
    BestOfMajority(n=6),
    BestOfN(Certainty(), n=6),
    BestOfN(Likelihood(), n=6),
    BestOfN(Likelihood(per="text"), n=6),
    ComplexityVote(n=6),
    CotDecode(k=2),
    DeepConf(n=6, warmup=3),
    Fractured(n=6),
    PerplexityConsistency(n=6),
    PerplexityConsistency(n=6, per="token"),
    SemanticEntropy(n=3),
    SetCover(n=6, every=2),
    Vote(n=6),
    WeightedVote(Likelihood(), n=6, weight="exp"),
    *(make(Fine()) for make in SEARCHES.values()),
    *(make(Fine()) for make in SMC.values() if not isinstance(make(Fine()), ParticleGibbs)),
]


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_a_text_that_begins_with_a_stop_is_an_empty_answer_that_never_ends_a_run(part: Any) -> None:
    for seed in range(3):
        answer = run(part, BLANK, seed=seed, sampling=STOPPED)
        heard = {a.text for a in (answer, *answer.others)}
        if not isinstance(part, (CotDecode, Fractured)):  # these go on from given text, whatever is in it
            assert heard <= {"", "\\boxed{3}"}
        if isinstance(part, (DeepConf, PerplexityConsistency, Vote, WeightedVote, SetCover, BestOfMajority)):
            assert answer.final == ("3" if "\\boxed{3}" in heard else None)
    assert run(part, {"A: 2": 1.0}, sampling=STOPPED).receipt.finish == "done"  # type: ignore[union-attr]


@pytest.mark.parametrize("part", [*PARTS, Short(m=2, k=4)], ids=repr)
def test_a_text_that_ends_at_once_is_a_text(part: Any) -> None:
    assert run(part, {"": 1.0}).text == ""
    assert run(part, {"": 0.5, "A: 2": 0.5}).final in (None, "2")


def test_without_a_record_it_is_said_and_not_taken_for_an_empty_text() -> None:
    unknown = [Sampled("1", "one", 3), Sampled("2", "", 0)]
    for part, lack in ((PerplexityConsistency(), "logprob"), (DeepConf(), "certainty")):
        with pytest.raises(BadInput, match=f"has no '{lack}'"):
            part.select(unknown)


def test_the_longest_solutions_without_an_answer_do_not_silence_those_that_have_one() -> None:
    rule = ComplexityVote(n=4, share=0.25)
    texts = [("a\nb\nc", None), ("a\nA: 1", "1"), ("A: 2", "2"), ("A: 2", "2")]
    assert rule.select([Sampled(final, text) for text, final in texts]).picks == (1,)
    assert rule.select([Sampled(None, "a\nb"), Sampled(None, "a")]).picks == (0,)


# --------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("name", SELECTIONS)
def test_all_samples_are_judged_in_one_call_and_a_budget_changes_nothing_else(name: str) -> None:
    """Where a cap may end the run, each is judged as it ends; scores, and so answers, are the same."""
    for seed in range(6):
        told, capped = Fine(), Fine()
        answer = run(SELECTIONS[name](told), seed=seed)
        [batch] = told.batches
        assert len(batch) == (3 if "combine" in name else 6)
        again = run(SELECTIONS[name](capped), seed=seed, budget=Budget(written=10_000))
        assert sorted(text for one in capped.batches for text in one) == sorted(batch)
        assert (again.text, again.score) == (answer.text, answer.score)
        assert again.receipt.logical == answer.receipt.logical  # type: ignore[union-attr]
        for max_batch in (1, 2):
            alone = Engine(scripted(lambda question: SAID), max_batch=max_batch).run(
                Request(SELECTIONS[name](told), "q", seed=seed, sampling=SAMPLING)
            )
            assert told.batches[-1] == batch  # in the order of the samples, whoever ends first
            assert (alone.text, alone.score) == (answer.text, answer.score)


def test_what_a_budget_leaves_has_been_judged() -> None:
    """The best of those that had ended by then, wherever the budget ends."""
    likes_threes = Fine(lambda text: float(text == "A: 3"))
    found = []
    for cap in range(12, 60, 4):
        answer = run(BestOfN(likes_threes, n=6), budget=Budget(written=cap), seed=3)
        heard = {a.text for a in (answer, *answer.others)}
        found.append(answer.score)
        assert answer.score is None or answer.score == max(map(likes_threes.function, heard))
    assert 1.0 in found and found == sorted(found, key=lambda score: -1.0 if score is None else score)


def test_until_all_are_judged_the_vote_stands() -> None:
    """A cancelled run has something to say, although no sample was judged."""
    from outthink.engine.trace import Trace

    offers: list[Answer] = []

    class Heard(Trace):
        def offered(self, run: Any, answer: Answer) -> None:
            offers.append(answer)

    engine = talker()
    engine.trace = Heard()
    engine.run(Request(BestOfN(Fine(), n=6), "q", sampling=SAMPLING))
    assert len(offers) == 6 and [len(o.others) for o in offers] == [0, 1, 2, 3, 4, 5]
    for offer in offers:
        finals = [a.final for a in (offer, *offer.others) if a.final]
        assert not finals or finals.count(str(offer.final)) == max(map(finals.count, finals))


# --------------------------------------------------------------------------------------------------- anytime


def test_what_the_first_particles_of_a_chain_have_written_stands() -> None:
    """Where the budget ends in its first run, particle Gibbs has the answer of `particles`."""
    ended = 0
    for seed in range(4):
        for cap in range(10, 40, 3):
            told = [
                run(part, budget=Budget(written=cap), seed=seed)
                for part in (Particles(Fine(), n=4, threshold=0.0), ParticleGibbs(Fine(), n=4, threshold=0.0))
            ]
            if told[0].receipt.finish != "done":  # type: ignore[union-attr]
                assert told[0].text == told[1].text
                ended += told[0].finish != "budget"
    assert ended > 5


VOTERS: list[Any] = [
    AdaptiveVote(n=6, wave=2),
    BestOfMajority(n=5),
    ComplexityVote(n=5),
    DeepConf(n=5, warmup=2, window=2, check=2),
    Fractured(n=2),
    ModelSwitch(n=4),
    PerplexityConsistency(n=5),
    SemanticEntropy(n=2, rounds=2, prompt=""),
    SetCover(n=4, every=3),
    Temperatures(n=4),
    Vote(n=5),
    WeightedVote(Fine(), n=5),
]


@pytest.mark.parametrize("part", VOTERS, ids=repr)
def test_a_larger_budget_loses_no_answer(part: Any) -> None:
    """Once a text with an answer has ended, there is an answer wherever the budget ends; a third has none."""
    for seed in (0, 2):
        had = 0
        for cap in (*range(9, 46, 6), 80):
            answer = run(part, seed=seed, budget=Budget(written=cap))
            if answer.final is not None and answer.finish != "budget":
                had = had or cap
            assert answer.final is not None or not had, (seed, had, cap, answer.text)
        assert had


# ------------------------------------------------------------------------------------- what cannot be split


@pytest.mark.parametrize("name", [*SEARCHES, *SMC])
def test_a_task_whose_steps_cannot_be_split_is_named_on_the_receipt(name: str) -> None:
    def told(said: Mapping[str, float]) -> list[str]:
        receipt = run(ALL[name](Fine()), said).receipt
        assert receipt is not None and receipt.finish == "done"
        return [note.why for note in receipt.degradations if note.what == "steps"]

    if name == "iad":  # it has no steps
        return
    [why] = told({"A: 2": 0.5, "A: 3": 0.5})
    assert why.startswith("no text went on after")
    assert told({"so\nso\nA: 2": 0.5, "so\nno\nA: 3": 0.5}) == []
