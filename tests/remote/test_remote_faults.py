"""What goes wrong on the way to an endpoint: a right answer or a clear error, counted once, nothing left."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sums import Made, check_clean, sums
from test_remote_client import QUESTION, told

import outthink as ot
from outthink import strategy, verify
from outthink.backends.openai import connect
from outthink.backends.remote.faults import EndpointError, Fault, backoff, of_status
from outthink.backends.remote.network import Timeouts
from outthink.backends.remote.throttle import Throttle
from outthink.core.problem import Problem
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.testing.endpoint import Endpoint, Powers, Refusal, writes
from outthink.testing.proxy import FAULTS, Proxy

GREEDY = ot.Sampling(temperature=0.0)
TEXT = "12 + 30 = 42\nA: 42\n"
HARMLESS = ("delay", "long_length", "no_usage", "no_done", "no_logprobs")
UNBILLED = ("429", "503")
QUICK = Timeouts(connect=2.0, silence=0.5, whole=20.0)
GOOD = Powers()


@pytest.fixture
def through() -> Iterator[Any]:
    """An endpoint behind a proxy, and an engine that goes through it."""
    closing: list[Any] = []

    def made(powers: Powers = GOOD, **options: Any) -> tuple[Endpoint, Proxy, Engine]:
        endpoint = Endpoint(writes(sums), powers).__enter__()
        proxy = Proxy(endpoint.url).__enter__()
        engine = Engine(connect(f"{proxy.url}#fake", timeouts=QUICK, **options))
        closing.extend((endpoint, proxy, engine))
        endpoint.log.clear()
        proxy.number = 0
        return endpoint, proxy, engine

    yield made
    for one in reversed(closing):
        one.__exit__(None, None, None) if isinstance(one, Proxy) else one.close()


@pytest.mark.parametrize(
    "powers", [GOOD, Powers(completions=False, goes_on=False)], ids=["continues", "restarts"]
)
@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_changes_nothing_but_the_receipt(through: Any, fault: str, powers: Powers) -> None:
    endpoint, proxy, engine = through(powers)
    proxy.plan = lambda number, path: fault if number == 1 else ""
    answer = ot.run(strategy.Once(), QUESTION, engine, sampling=GREEDY)
    receipt = answer.receipt
    assert proxy.done == {fault: 1} and receipt is not None
    assert answer.text == TEXT and answer.final == "42"
    assert receipt.logical.written == len(TEXT) + (fault != "no_usage")  # the end token, which usage tells
    again = [d for d in receipt.degradations if d.what == "sent again"]
    assert bool(again) == (fault not in HARMLESS + UNBILLED)
    billed = sum(served.written for served in endpoint.texts)
    if fault in ("cut", "half_json", "short_length") and not powers.goes_on:
        assert receipt.actual.discarded > 0 and receipt.actual.written > receipt.logical.written
    assert receipt.actual.written <= billed + 1
    told(engine)


@pytest.mark.parametrize("fault", ["429", "503", "drop", "drop_late", "500", "cut", "mute"])
def test_a_prompt_that_is_sent_again_is_paid_again(through: Any, fault: str) -> None:
    """At a dollar a token read, what may be billed twice is in the dollars, and nothing else is."""
    paid = []
    for name in ("", fault):
        endpoint, proxy, engine = through(prices="1000000,0.001")
        proxy.plan = lambda number, path, name=name: name if number == 1 else ""
        answer = ot.run(strategy.Once(), QUESTION, engine, sampling=GREEDY)
        assert answer.receipt is not None
        paid.append(answer.receipt.actual.dollars)
        told(engine)
    prompt = answer.receipt.logical.read
    once, twice = paid
    assert once == pytest.approx(endpoint.texts[0].prompt, abs=0.01)
    assert twice - once == pytest.approx(0, abs=0.01) if fault in UNBILLED else twice - once >= prompt - 0.01


def test_what_has_arrived_is_continued_not_written_again(through: Any) -> None:
    endpoint, proxy, engine = through()
    proxy.plan = lambda number, path: "cut" if number <= 2 else ""
    answer = ot.run(strategy.Once(), QUESTION, engine, sampling=GREEDY)
    begun = [served.body["messages"][-1]["content"] for served in endpoint.texts[1:]]
    assert answer.text == TEXT and len(begun) == 2
    assert all(TEXT.startswith(text) and text for text in begun) and len(begun[1]) > len(begun[0])
    assert endpoint.texts[1].body["continue_final_message"]


def test_a_broken_group_goes_on_one_by_one(through: Any) -> None:
    _, proxy, engine = through()
    proxy.plan = lambda number, path: "cut" if number == 1 else ""
    answer = ot.run(strategy.Vote(n=5), QUESTION, engine, seed=4)
    assert {a.text for a in (answer, *answer.others)} <= set(sums(QUESTION.prompt))
    assert 2 <= proxy.number <= 6
    told(engine)


def test_errors_without_hope_come_at_once_and_are_clear(through: Any) -> None:
    endpoint, proxy, engine = through()
    for status, said in ((401, "give a key"), (404, "404: gone"), (400, "400: gone")):
        endpoint.fail = lambda served, status=status: Refusal(status, "gone")
        before = proxy.number
        with pytest.raises(ot.BadInput, match=said):
            ot.run(strategy.Once(), QUESTION, engine)
        assert proxy.number == before + 1
    told(engine)


def test_the_endpoint_of_the_tests_takes_a_burst_of_connections() -> None:
    """Before it has accepted one: else a busy machine resets them, and requests are sent again."""
    endpoint = Endpoint(writes(sums))
    host, port = endpoint.url.removeprefix("http://").removesuffix("/v1").split(":")
    held = [socket.create_connection((host, int(port)), timeout=2) for _ in range(64)]
    with endpoint:
        for one in held:
            one.close()


def test_attempts_end(through: Any) -> None:
    _, proxy, engine = through(attempts=3)
    proxy.plan = lambda number, path: "500"
    with pytest.raises(EndpointError, match="planned .given up after 3 attempts."):
        ot.run(strategy.Vote(n=3), QUESTION, engine)
    assert proxy.number == 3
    told(engine)


def test_log_probabilities_that_a_strategy_needs_are_not_made_up(through: Any) -> None:
    _, proxy, engine = through()
    proxy.plan = lambda number, path: "no_logprobs" if number == 1 else ""
    with pytest.raises(EndpointError, match="left out log-probabilities"):
        ot.run(strategy.BestOfN(verify.Likelihood(), n=2), QUESTION, engine)
    told(engine)


@pytest.mark.parametrize("written", [0, -1, None])
def test_a_usage_that_cannot_be_is_not_believed(serve: Made, written: int | None) -> None:
    from outthink.backends.remote import wire

    _, engine = serve()
    usage = {"completion_tokens": written}
    whole = wire.read_chunk({"choices": [], "usage": {"prompt_tokens": 5} | usage})
    assert whole.usage is not None and not whole.usage.written
    backend: Any = engine.main.backend
    before = wire.read_chunk
    wire.read_chunk = lambda found: before(found | ({"usage": usage} if found.get("usage") else {}))
    try:
        answer = ot.run(strategy.Once(), QUESTION, engine, sampling=GREEDY)
    finally:
        wire.read_chunk = before
    assert answer.receipt is not None and answer.receipt.logical.written == len(TEXT)
    assert any("without usage" in line for line in answer.receipt.estimated) and backend.is_remote


@pytest.mark.parametrize(
    ("value", "kept"), [(0.0, 0.0), (-1.5, -1.5), (0.7, None), (None, None), (float("nan"), None)]
)
def test_a_log_probability_above_zero_is_none(value: Any, kept: Any) -> None:
    from outthink.backends.remote.wire import sane

    assert sane(value) == kept


def test_many_faults_at_once(through: Any) -> None:
    """A hundred problems, a third of all requests broken in every way: each has its own right answer."""
    endpoint, proxy, engine = through(attempts=12)
    kinds = [f for f in FAULTS if f not in ("mute",)]
    proxy.plan = lambda number, path: kinds[number // 3 % len(kinds)] if number % 3 == 0 else ""
    problems = [Problem(f"What is {i} + {7 * i}?", id=str(i)) for i in range(100)]
    seen: dict[str, ot.Answer] = {}
    for done in engine.map([Request(strategy.Once(), p, sampling=GREEDY) for p in problems], concurrency=16):
        assert done.error is None, done.error
        assert done.answer is not None
        problem = done.request.problem
        assert isinstance(problem, Problem) and problem.id not in seen
        seen[problem.id] = done.answer
    for i, problem in enumerate(problems):
        text, receipt = f"{i} + {7 * i} = {8 * i}\nA: {8 * i}\n", seen[problem.id].receipt
        assert seen[problem.id].text == text and receipt is not None
        assert receipt.logical.written in (len(text), len(text) + 1)
    assert len(seen) == 100 and sum(proxy.done.values()) > 30
    told(engine)


# ------------------------------------------------------------------------------ many at a time


def test_a_server_that_takes_one_at_a_time_is_given_one_at_a_time(serve: Made) -> None:
    """It ends a stream when the next request comes. The probe finds what it would else, and a vote ends."""
    powers = Powers(interrupts=True, n=False)
    _, plain = serve(replace(powers, interrupts=False))
    endpoint, engine = serve(powers, per_token=0.002)
    assert engine.main.backend.features == plain.main.backend.features
    answer = ot.run(strategy.Vote(n=4), QUESTION, engine, seed=1)
    assert {a.text for a in (answer, *answer.others)} <= set(sums(QUESTION.prompt))
    assert len(endpoint.texts) > 4  # some were cut short and asked for again
    assert engine.main.backend.fleet.endpoints[0].throttle.room < 4
    told(engine)


def test_the_cap_falls_when_told_to_and_grows_again() -> None:
    throttle = Throttle(most=64, start=16)
    for _ in range(5):
        throttle.refused(10.0)  # five answers to one burst are one reason
    assert throttle.room == 8
    throttle.refused(12.0)
    assert throttle.room == 4
    throttle.refused(14.0, in_flight=2)  # two at a time were too many already
    assert throttle.room == 1
    throttle = Throttle(most=64, start=4)
    for _ in range(200):
        throttle.answered(0.1, 13.0)
    assert 16 < throttle.room < 30  # it grows by about one for each round
    throttle.answered(5.0, 14.0)  # far later than is usual
    assert throttle.room < 20


def test_requests_in_flight_stay_below_the_cap(serve: Made) -> None:
    endpoint, engine = serve(per_token=0.002, concurrency=3)
    most, now, lock = 0, 0, threading.Lock()

    def count(served: Any) -> None:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1

    endpoint.fail = count  # type: ignore[assignment]
    requests = [Request(strategy.Once(), Problem(f"What is {i} + 1?")) for i in range(12)]
    assert all(d.error is None for d in engine.map(requests))
    assert most <= 3
    told(engine)


def test_429_is_waited_for_and_not_billed(serve: Made) -> None:
    endpoint, engine = serve()
    left = [3]

    def refuse(served: Any) -> Refusal | None:
        left[0] -= 1
        return Refusal(429, "slow down") if left[0] >= 0 else None

    endpoint.fail = refuse
    answer = ot.run(strategy.Once(), QUESTION, engine, sampling=GREEDY)
    assert answer.text == TEXT and answer.receipt is not None and not answer.receipt.degradations
    assert engine.main.backend.fleet.endpoints[0].throttle.limit < 16
    told(engine)


def test_a_quota_that_is_used_up_is_not_waited_for(serve: Made) -> None:
    endpoint, engine = serve()
    asked = []

    def refuse(served: Any) -> Refusal | None:
        asked.append(served)
        return Refusal(429, "You exceeded your current quota", "insufficient_quota")

    endpoint.fail = refuse
    with pytest.raises(ot.BadInput, match=r"current quota \(insufficient_quota\); its quota is used up"):
        ot.run(strategy.Once(), QUESTION, engine)
    assert len(asked) == 1
    told(engine)


def test_waits_are_at_least_what_was_asked_for_and_bounded() -> None:
    busy = of_status(429, "x", {"retry-after": "3"}, "here")
    assert busy.is_busy and busy.wait == 3.0 and not busy.may_bill
    assert of_status(429, "x", {"retry-after": "Wed, 21 Oct 2026"}, "here").wait == 0.0
    assert backoff(0, 0.5, busy.wait) >= 3.0
    assert [backoff(k, 1.0) for k in (0, 1, 2, 20)] == [0.25, 0.5, 1.0, 20.0]


@pytest.mark.parametrize("status", [429, 500])
def test_a_busy_endpoint_is_probed_for_what_it_can(status: int) -> None:
    """A refusal for the moment is not taken for what the endpoint cannot do."""
    numbers = itertools.count()
    with Endpoint(writes(sums)) as quiet, Endpoint(writes(sums)) as busy:
        busy.fail = lambda served: Refusal(status, "later") if next(numbers) % 5 == 0 else None
        backends = [connect(endpoint.spec) for endpoint in (quiet, busy)]
    assert backends[0].features == backends[1].features and next(numbers) > 20
    for backend in backends:
        backend.close()


def test_an_endpoint_that_is_down_is_said_at_connect() -> None:
    with pytest.raises(EndpointError, match="cannot reach http://127.0.0.1:9/v1.*is the server up"):
        connect("http://127.0.0.1:9/v1#m")


def test_faults_know_whether_trying_again_helps() -> None:
    kinds = {status: of_status(status, "m", {}, "x") for status in (400, 401, 404, 408, 429, 500, 502, 503)}
    assert {s for s, f in kinds.items() if f.is_final} == {400, 401, 404}
    assert {s for s, f in kinds.items() if f.may_bill and not f.is_final} == {408, 500, 502}
    assert all(isinstance(f, Fault) for f in kinds.values())


def test_keys_go_only_to_the_host_that_they_are_for() -> None:
    from outthink.backends.remote.fleet import parse_fleet

    environment = {"OPENAI_API_KEY": "secret", "OUTTHINK_API_KEY_B_EXAMPLE_8000": "for b"}
    ours, b, openai = parse_fleet(
        "http://a/v1#m,http://b.example:8000/v1#m*2,https://api.openai.com/v1#m", environment=environment
    )
    assert (ours.key, b.key, openai.key) == ("", "for b", "secret") and b.weight == 2.0
    assert "secret" not in repr(openai)


def test_a_key_in_the_url_is_refused_and_not_repeated() -> None:
    """The URL is told in receipts and errors."""
    with pytest.raises(ot.BadInput, match="not in the URL") as error:
        connect("http://me:hidden@a.example/v1#m")
    assert "hidden" not in str(error.value)


def test_an_aborted_run_cancels_its_requests(serve: Made) -> None:
    endpoint, engine = serve(per_token=0.02)
    run = engine.start(Request(strategy.Vote(n=4), QUESTION))
    until = time.monotonic() + 2
    while not any(s.got for s in engine.main.sent.values()) and time.monotonic() < until:  # type: ignore[union-attr]
        engine.turn()
    engine.abort(run)
    told(engine)
    check_clean(engine)
    time.sleep(0.3)
    assert not any(served.is_whole for served in endpoint.texts)
    assert replace(endpoint.powers).per_token
