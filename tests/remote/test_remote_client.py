"""The same strategies on an endpoint: texts, counts, stops, caps, races, scores."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sums import GOOD, Made, check_clean, sums

import outthink as ot
from outthink import strategy, verify
from outthink.backends.remote.faults import EndpointError
from outthink.core.errors import BadInput, CannotDo, PromptTooLong
from outthink.core.needs import needs_of
from outthink.core.problem import Problem, Secret
from outthink.core.types import Can
from outthink.engine.request import Request
from outthink.testing.endpoint import Powers, Refusal

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))
from cases import STRATEGIES  # noqa: E402

QUESTION = Problem("What is 12 + 30?", secret=Secret(reference="42"))
KINDS = [
    pytest.param(Powers(), id="good"),
    pytest.param(Powers(completions=False), id="chat"),
    pytest.param(Powers(chat=False), id="completions"),
    pytest.param(Powers(n=False, seed=False), id="plain"),
]


def told(engine: Any) -> Any:
    """Wait until the network thread has ended its calls."""
    until = time.monotonic() + 5
    backend = engine.main.backend
    while time.monotonic() < until and (backend._calls or any(e.in_flight for e in backend.fleet.endpoints)):
        time.sleep(0.005)
    check_clean(engine)


@pytest.mark.parametrize("powers", KINDS)
def test_texts_are_the_endpoints_and_counted_by_it(serve: Made, powers: Powers) -> None:
    endpoint, engine = serve(powers)
    answer = ot.run(strategy.Vote(n=6), QUESTION, engine, seed=3)
    texts = [a.text for a in (answer, *answer.others)]
    assert set(texts) <= set(sums(QUESTION.prompt)) and answer.final in ("42", "43")
    assert answer.receipt is not None
    written = sum(served.written for served in endpoint.texts)
    assert answer.receipt.logical.written == answer.receipt.actual.written == written
    assert written == sum(len(text) + 1 for text in texts)  # the end token counts
    assert len(endpoint.texts) == (1 if powers.n else 6)
    assert answer.receipt.best_effort and any("seed" in line for line in answer.receipt.estimated)
    told(engine)


@pytest.mark.parametrize(("powers", "n"), [(GOOD, 500), (Powers(n=False), 120)], ids=["n", "seeds"])
def test_samples_follow_the_endpoints_distribution(serve: Made, powers: Powers, n: int) -> None:
    """Samples at temperature 1 against the enumerated texts, chi-square at 1e-4."""
    _, engine = serve(powers)
    answer = ot.run(strategy.Vote(n=n), QUESTION, engine, sampling=ot.Sampling(temperature=1.0))
    texts = [a.text for a in (answer, *answer.others)]
    weights = sums(QUESTION.prompt)
    chi = sum((texts.count(t) - n * p) ** 2 / (n * p) for t, p in weights.items())
    assert len(texts) == n and chi < 18.4


@pytest.mark.parametrize("part", [p for parts in STRATEGIES.values() for p in parts], ids=repr)
def test_every_strategy_gives_the_same_kind_of_answer(serve: Made, part: Any) -> None:
    _, engine = serve()
    lacking = needs_of(part) & ~engine.main.can
    if lacking:
        with pytest.raises(CannotDo, match=str(next(iter(lacking)).name).lower()):
            ot.run(part, QUESTION, engine)
        return
    if isinstance(part, strategy.DiverseBeam):  # wants more likeliest tokens than an endpoint gives
        with pytest.raises(EndpointError, match="top_logprobs"):
            ot.run(part, QUESTION, engine)
        return
    if (
        isinstance(part, strategy.Bidirectional) and not part.floor
    ):  # a text in the making has no final answer
        with pytest.raises(BadInput, match="weighs nothing on its way"):
            ot.run(part, QUESTION, engine, seed=1)
        return
    answer = ot.run(part, QUESTION, engine, seed=1)
    if answer.finish.startswith("dead"):  # the same holds for particles that it judges
        assert "exact()" in repr(part) and answer.text == ""
        return
    assert answer.text in sums(QUESTION.prompt) and answer.final in ("42", "43")
    told(engine)


def test_greedy_is_the_likeliest_text(serve: Made) -> None:
    _, engine = serve()
    assert ot.run(strategy.Greedy(), QUESTION, engine).text == "12 + 30 = 42\nA: 42\n"


@pytest.mark.parametrize("cap", [1, 5, 17, 40, 100])
@pytest.mark.parametrize("powers", KINDS)
def test_a_budget_is_never_overspent(serve: Made, powers: Powers, cap: int) -> None:
    endpoint, engine = serve(powers)
    answer = ot.run(strategy.Vote(n=4), QUESTION, engine, budget=ot.Budget(written=cap))
    assert answer.receipt is not None and answer.receipt.logical.written <= cap
    assert sum(served.written for served in endpoint.texts) <= cap  # the endpoint was not asked for more
    told(engine)


def test_log_probabilities_are_the_endpoints(serve: Made) -> None:
    _, engine = serve()
    answer = ot.run(strategy.BestOfN(verify.Likelihood(per="text"), n=8), QUESTION, engine, seed=2)
    assert answer.score is not None
    assert answer.score == pytest.approx(math.log(sums(QUESTION.prompt)[answer.text]), abs=1e-6)


def test_defaults_of_the_endpoints_own_do_not_bind(serve: Made) -> None:
    """A server that keeps the likeliest token alone unless told otherwise still gives the model's texts."""
    endpoint, engine = serve(Powers(own_top_k=1))
    answer = ot.run(strategy.Vote(n=60), QUESTION, engine, seed=1, sampling=ot.Sampling(temperature=1.0))
    assert {a.text for a in (answer, *answer.others)} == set(sums(QUESTION.prompt))
    assert all(served.body["top_k"] == -1 for served in endpoint.log)
    told = ot.run(strategy.Vote(n=9), QUESTION, engine, sampling=ot.Sampling(temperature=1.0, top_k=1))
    assert {a.text for a in (told, *told.others)} == {"12 + 30 = 42\nA: 42\n"}


def test_an_endpoint_that_knows_only_openais_fields_gets_only_those(serve: Made) -> None:
    endpoint, engine = serve(Powers(strict=True))
    assert dict(engine.main.backend.features.plain) == {"top_p": 1.0}
    assert ot.run(strategy.Greedy(), QUESTION, engine).final == "42"
    assert all("top_k" not in served.body and served.body["top_p"] == 1.0 for served in endpoint.log)
    [check] = [c for c in engine.main.backend.probe.checks if c.name == "plain"]
    assert "not taken: top_k, min_p, repetition_penalty, repeat_penalty" in check.note


class Stopping:
    """Writes up to a stop, twice."""

    def __init__(self, **sampling: Any) -> None:
        self.sampling = ot.Sampling(temperature=0.0, **sampling)
        self.seen: list[tuple[str, str, str]] = []

    async def __call__(self, root: ot.Branch, /) -> ot.Answer:
        for _ in range(2):
            finish = await root.generate(self.sampling)
            self.seen.append((finish.text, finish.reason, finish.stopped_on))
        return ot.Answer(root.text())


@pytest.mark.parametrize("stops", ["kept", "told", "cut", "deaf"])
@pytest.mark.parametrize("keep", [True, False])
def test_stops_end_where_they_should_whatever_the_endpoint_does(serve: Made, stops: str, keep: bool) -> None:
    _, engine = serve(Powers(stops=stops))
    part = Stopping(stop=("= 4", "\n"), keep_stop=keep)
    answer = ot.run(part, QUESTION, engine)
    first = "12 + 30 = 4" if keep else "12 + 30 "
    assert part.seen[0] == (first, "stop", "= 4")
    if keep:
        assert part.seen[1] == ("2\n", "stop", "\n") and answer.text == "12 + 30 = 42\n"
    told(engine)


def test_an_endpoint_that_cannot_go_on_is_not_asked_to(serve: Made) -> None:
    endpoint, engine = serve(Powers(goes_on=False, completions=False))
    part = Stopping(stop=("\n",), keep_stop=True)
    with pytest.raises(CannotDo, match="continue_final_message"):
        ot.run(part, QUESTION, engine)
    assert len(endpoint.texts) == 1


def test_what_is_lacking_is_said_before_a_token_is_spent(serve: Made) -> None:
    endpoint, engine = serve(Powers(logprobs="none"))
    with pytest.raises(CannotDo, match="needs logprobs.*a local model can; so can an endpoint"):
        ot.run(strategy.BestOfN(verify.Likelihood(), n=2), QUESTION, engine)
    for sampling, said in ((ot.Sampling(ignore_eos=True), "ignore_eos"), (ot.Sampling(warps=(1,)), "warps")):
        with pytest.raises(CannotDo, match=said):
            ot.run(strategy.Once(), QUESTION, engine, sampling=sampling)
    with pytest.raises(CannotDo, match="flops"):
        ot.run(strategy.Once(), QUESTION, engine, budget=ot.Budget(flops=1e9))
    assert not endpoint.texts


def test_fields_that_an_endpoint_ignores_are_refused(serve: Made) -> None:
    endpoint, engine = serve(Powers(extras=False))
    with pytest.raises(CannotDo, match="does not heed top_k"):
        ot.run(strategy.Once(), QUESTION, engine, sampling=ot.Sampling(top_k=1))
    _, good = serve()
    answer = ot.run(strategy.Once(), QUESTION, good, sampling=ot.Sampling(top_k=1, temperature=3.0))
    assert answer.text == "12 + 30 = 42\nA: 42\n" and not endpoint.texts


class Scoring:
    """Scores a forced continuation, and looks at what could come next."""

    def __init__(self) -> None:
        self.rows: Any = None
        self.dist: Any = None

    async def __call__(self, root: ot.Branch, /) -> ot.Answer:
        self.dist = await root.look(ot.Want(top=2))
        [branch] = root.fork()
        self.rows = await branch.extend("12 + 30 = 43\n", ot.Want(top=1))
        return ot.Answer(branch.text())


@pytest.mark.parametrize(
    "powers", [Powers(chat=False), Powers(prompt_logprobs=True)], ids=["echo", "prompt_logprobs"]
)
def test_a_forced_continuation_is_scored(serve: Made, powers: Powers) -> None:
    """log p("12 + 30 = 43..." ) = log 0.2, and the two likeliest first characters are 1 and T."""
    _, engine = serve(powers)
    assert engine.main.can & Can.SCORE
    part = Scoring()
    ot.run(part, QUESTION, engine)
    assert part.rows.logprob == pytest.approx(math.log(0.2), abs=1e-6)
    decode = engine.main.tokenizer.decode
    top = [(decode([token]), p) for token, p in part.dist.top]
    assert [t for t, _ in top] == ["1", "T"] and top[0][1] == pytest.approx(math.log(0.7))
    told(engine)


def test_scoring_is_refused_where_there_is_none(serve: Made) -> None:
    _, engine = serve(Powers(echo=False, chat=False))
    with pytest.raises(CannotDo, match="cannot score given text"):
        ot.run(Scoring(), QUESTION, engine)


def test_a_lost_race_is_cancelled_at_the_endpoint(serve: Made) -> None:
    endpoint, engine = serve(per_token=0.01)
    answer = ot.run(strategy.Short(m=1, k=6), QUESTION, engine, seed=1, sampling=ot.Sampling(temperature=1.0))
    assert answer.text.startswith("12 + 30")
    told(engine)
    time.sleep(0.2)
    long = [served for served in endpoint.texts if not served.is_whole]
    assert long and all(served.written < 45 for served in long)  # the long text has 48 tokens
    assert answer.receipt is not None and answer.receipt.actual.discarded > 0
    assert any("without usage" in line for line in answer.receipt.estimated)


def test_a_deadline_acts_in_mid_flight(serve: Made) -> None:
    endpoint, engine = serve(per_token=0.05)
    began = time.monotonic()
    answer = ot.run(strategy.Once(), QUESTION, engine, budget=ot.Budget(seconds=0.3))
    assert time.monotonic() - began < 0.8 and answer.receipt is not None
    assert "seconds" in answer.receipt.finish and 0 < answer.receipt.actual.written < 12
    assert answer.text and any(t.startswith(answer.text) for t in sums(QUESTION.prompt))
    told(engine)
    time.sleep(0.2)
    assert endpoint.texts[0].written < 15


def test_dollars_are_counted_and_capped(serve: Made) -> None:
    """Prices of 1000 a million read and 1000000 a million written: a dollar a token."""
    endpoint, engine = serve(per_token=0.01, prices="1000,1000000")
    answer = ot.run(strategy.Once(), QUESTION, engine)
    assert answer.receipt is not None
    read, written = endpoint.texts[0].prompt, endpoint.texts[0].written
    assert answer.receipt.actual.dollars == pytest.approx(read * 1e-3 + written)
    capped = ot.run(strategy.Vote(n=2), QUESTION, engine, budget=ot.Budget(dollars=10.0))
    assert capped.receipt is not None and "dollars" in capped.receipt.finish
    assert 5 < capped.receipt.actual.dollars <= 10
    told(engine)


@pytest.mark.parametrize("per_token", [0.0, 0.002])
@pytest.mark.parametrize("dollars", [0.02, 3.0, 9.5, 20.0, 45.0])
def test_a_cap_on_dollars_is_kept_by_many_at_once(serve: Made, per_token: float, dollars: float) -> None:
    """All that is asked for may arrive together: who asks first has reserved what it may cost."""
    endpoint, engine = serve(per_token=per_token, prices="1000,1000000")
    sampling = ot.Sampling(temperature=1.0, max_tokens=16)
    answer = ot.run(
        strategy.Vote(n=12), QUESTION, engine, budget=ot.Budget(dollars=dollars), sampling=sampling
    )
    assert answer.receipt is not None and "dollars" in answer.receipt.finish
    spent = answer.receipt.actual.dollars
    billed = sum(text.written + (0 if i else text.prompt * 1e-3) for i, text in enumerate(endpoint.texts))
    assert spent <= dollars and billed <= dollars + 1
    assert spent > dollars - 2 or dollars < 1
    told(engine)


def test_a_known_template_gives_the_endpoint_the_tokens_of_the_local_model() -> None:
    """The endpoint encodes the text as the tokenizer does by itself: one begin token, not two."""
    from outthink.backends.openai import known_tokenizer
    from outthink.models.tokenizer import Tokenizer

    pieces, template = known_tokenizer("pocket")
    known = Tokenizer.from_directory(Path(ot.embedded()["pocket"]))
    messages = [{"role": "user", "content": QUESTION.prompt}]
    assert template is not None and known.encode(template(messages)) == known.chat(messages)
    text = "Mia has 14 coins, \u00e9\u00e8 and 3 bags."
    assert len(pieces.encode(text)) == len(known.encode(text, special=False))
    assert pieces.decode(pieces.encode(text)) == text


def test_prices_must_be_known_for_a_cap_on_dollars(serve: Made) -> None:
    endpoint, engine = serve()
    with pytest.raises(ot.BadInput, match="--prices"):
        ot.run(strategy.Once(), QUESTION, engine, budget=ot.Budget(dollars=1.0))
    assert not endpoint.texts


def test_a_prompt_that_does_not_fit_is_one_problems_error(serve: Made) -> None:
    _, engine = serve(Powers(context=200))
    long = Problem("What is 1 + 1? " + "x " * 150)
    requests = [Request(strategy.Once(), p, sampling=ot.Sampling(max_tokens=60)) for p in (long, QUESTION)]
    done = {d.request.problem: d for d in engine.map(requests)}
    assert isinstance(done[long].error, PromptTooLong) and done[QUESTION].answer is not None
    told(engine)


def test_missing_usage_is_estimated_and_said(serve: Made) -> None:
    _, engine = serve(Powers(usage=False, logprobs="none"))
    answer = ot.run(strategy.Once(), QUESTION, engine)
    assert answer.receipt is not None and answer.receipt.logical.written >= len(answer.text)
    assert any(line.startswith("written") for line in answer.receipt.estimated)


def test_equal_prompts_go_to_one_endpoint_and_weights_count(serve: Made) -> None:
    from outthink.backends.remote.fleet import Endpoint, ranked

    ends = [Endpoint("http://a/v1", "m", 1.0), Endpoint("http://b/v1", "m", 3.0)]
    firsts = [ranked(ends, key)[0].url for key in range(2000)]
    assert firsts == [ranked(ends[::-1], key)[0].url for key in range(2000)]
    assert 0.72 < firsts.count("http://b/v1") / 2000 < 0.78


def test_a_fleet_shares_the_work_and_loses_a_member(serve: Made) -> None:
    first, _ = serve()
    second, _ = serve()
    _, engine = serve(url=f"{first.spec},{second.spec}")
    first.log.clear(), second.log.clear()
    problems = [Problem(f"What is {i} + 1?") for i in range(24)]
    done = list(engine.map([Request(strategy.Once(), p) for p in problems]))
    assert all(d.error is None for d in done) and first.texts and second.texts
    first.log.clear()
    second.close()
    later = list(engine.map([Request(strategy.Once(), p) for p in problems]))
    assert [d.error for d in later] == [None] * 24 and len(first.texts) == 24
    told(engine)


def test_a_member_that_is_dead_is_asked_no_more(serve: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three failures in a row it is out; only what was on its way by then reaches it."""
    from outthink.backends.remote import fleet

    monkeypatch.setattr(fleet, "AWAY", 1000.0)
    first, _ = serve()
    second, _ = serve()
    _, engine = serve(url=f"{first.spec},{second.spec}")
    first.log.clear(), second.log.clear()
    second.fail = lambda served: Refusal(502, "nobody is behind this door")
    problems = [Problem(f"What is {i} + 1?") for i in range(40)]
    done = list(engine.map([Request(strategy.Once(), p) for p in problems], concurrency=4))
    assert [d.error for d in done] == [None] * 40 and len(first.texts) == 40
    assert 3 <= len(second.log) <= 3 + 4  # about 20 of the prompts rank it first
    told(engine)


def test_choices_that_are_asked_for_one_by_one_have_seeds_of_their_own(serve: Made) -> None:
    """Else an endpoint that keeps to its seed would give one text n times; the same run asks the same."""
    asked = []
    for _ in range(2):
        endpoint, engine = serve(Powers(n=False))
        answer = ot.run(strategy.Vote(n=8), QUESTION, engine, seed=3)
        assert len({a.text for a in (answer, *answer.others)}) > 1
        asked.append(sorted(served.body["seed"] for served in endpoint.texts))
        told(engine)
    assert len(set(asked[0])) == 8 and asked[0] == asked[1]
