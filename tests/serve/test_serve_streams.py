"""What streams are made of, without a server: each piece at once, signs of life, and who does not read."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from outthink.backends.toy import hashed, toy
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.serve import replies, streams
from outthink.serve.bodies import read_body
from outthink.serve.engine_side import EngineSide
from outthink.serve.errors import Refused
from outthink.serve.fields import ChatBody
from outthink.serve.gateway import Call, Gateway
from outthink.serve.line import Line
from outthink.serve.metrics import Metrics
from outthink.serve.replies import Form
from outthink.serve.settings import Settings
from outthink.serve.streams import ALIVE, DONE, EventStream, Stream, event
from outthink.serve.wire import Choice, Ended, Limits, News, Order, Piece
from outthink.strategy import Once

FORM = Form(is_chat=True, model="pocket", strategy="once()")


def ended(text: str, rest: str = "") -> Ended:
    choice = Choice(text, "stop", None, None, Piece(rest))
    return Ended(1, (choice,), {"logical": {}})


def contents(part: bytes) -> list[str]:
    found = [json.loads(e.removeprefix(b"data: ")) for e in part.split(b"\n\n") if e.startswith(b"data: {")]
    return [c["delta"]["content"] for f in found for c in f["choices"] if "content" in c["delta"]]


def test_each_piece_is_told_before_the_next_one_is_there() -> None:
    async def told() -> list[Any]:
        call = Call(Order(1, None, is_streamed=True))
        events = Stream(FORM, [call], alive=60.0).events(News(1))
        seen: list[Any] = [await anext(events), await anext(events)]
        for text in ("14", " + ", "18"):
            call.hear(News(1, pieces={0: Piece(text)}))
            seen.append(contents(await anext(events)))
        call.hear(ended("14 + 18 = 32", rest=" = 32"))
        return [*seen[2:], contents(await anext(events)), await anext(events)]

    assert asyncio.run(asyncio.wait_for(told(), 20)) == [["14"], [" + "], ["18"], [" = 32"], DONE]


def test_silence_is_broken_by_signs_of_life_alone() -> None:
    async def told() -> list[Any]:
        call = Call(Order(1, None, is_streamed=True))
        events = Stream(FORM, [call], alive=0.02).events(News(1))
        seen = [await anext(events) for _ in range(4)][2:]
        call.hear(News(1, pieces={0: Piece("x")}))
        return [*seen, contents(await anext(events))]

    assert asyncio.run(asyncio.wait_for(told(), 20)) == [ALIVE, ALIVE, ["x"]]


def test_news_of_a_silent_call_wake_who_waits_without_a_time() -> None:
    async def told() -> Any:
        call = Call(Order(1, None))
        waiting = asyncio.create_task(call.end())
        for message in (News(1, written=1), News(1, written=2), ended("x")):
            await asyncio.sleep(0)
            call.hear(message)
        return await asyncio.wait_for(waiting, 20)

    assert asyncio.run(told()) == ended("x")


@given(
    model=st.text(min_size=1, max_size=20) | st.just('"content":"'),
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=5),
    is_chat=st.booleans(),
    with_usage=st.booleans(),
)
def test_a_frame_around_a_text_is_the_event_made_whole(
    model: str, texts: list[str], is_chat: bool, with_usage: bool
) -> None:
    model = model.encode("utf-8", "replace").decode()
    form = Form(is_chat, model, "once()", with_usage)
    stream = Stream(form, [], alive=1.0)
    for index, text in enumerate([*texts, form.id, f"{form.id} ", f'"{form.id} "']):
        assert stream._piece(Piece(text), index % 2) == event(replies.chunk(form, index % 2, Piece(text)))


@pytest.mark.parametrize("does", ["reads", "stops reading", "goes"])
def test_a_stream_ends_with_its_reader(monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Whoever reads gets all; whoever stops reading, or goes, ends the events and is reported once."""
    monkeypatch.setattr(streams, "PATIENCE", 0.1)
    closed: list[str] = []

    async def events() -> AsyncIterator[bytes]:
        try:
            for _ in range(5):
                await asyncio.sleep(0.06)  # slower than one may be at reading
                yield b"x"
        finally:
            closed.append("events")

    async def run() -> bytes:
        got, here = b"", asyncio.Event()

        async def send(message: Any) -> None:
            nonlocal got
            got += message.get("body", b"")
            if got and does == "stops reading":
                await asyncio.sleep(3600)
            elif got and does == "goes":
                here.set()

        async def receive() -> Any:
            await (here.wait() if does == "goes" else asyncio.sleep(3600))
            return {"type": "http.disconnect"}

        await EventStream(events(), lambda: closed.append("ending"))({}, receive, send)
        return got

    got = asyncio.run(asyncio.wait_for(run(), 30))
    assert closed == ["events", "ending"]
    assert got == b"xxxxx" if does == "reads" else len(got) < 5


@pytest.mark.parametrize("parts", [1, 3])
def test_a_body_may_have_as_many_bytes_as_it_may(parts: int) -> None:
    most = 200
    plain = b'{"model": "pocket", "messages": [{"role": "user", "content": "hi"}]}'

    def read(size: int) -> ChatBody:
        raw = plain + b" " * (size - len(plain))
        step = -(-size // parts)
        cut = [raw[i : i + step] for i in range(0, size, step)]

        async def receive() -> Any:
            return {"type": "http.request", "body": cut.pop(0), "more_body": bool(cut)}

        headers = [(b"content-type", b"application/json")]
        request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
        return asyncio.run(read_body(request, ChatBody, Settings(max_body=most)))

    assert read(most).model == read(len(plain)).model == "pocket"
    with pytest.raises(Refused, match="longer than 200 bytes") as refused:
        read(most + 1)
    assert refused.value.status == 413


def test_urgent_orders_are_ended_before_patient_ones() -> None:
    """Not only first out of the line: in the engine, whose passes have room for one order at a time."""
    ours, theirs = socket.socketpair()
    side = EngineSide(Engine(toy(hashed(4, shortest=40, seed=2), 4), max_batch=1), theirs)
    sampling = Sampling(temperature=1.0, max_tokens=30, ignore_eos=True)
    for number, priority in enumerate([5, 5, 5, -5]):
        side._take(Order(number, Once(), text="ab", seed=number, sampling=sampling, priority=priority))
    order: list[int] = []
    while side.tickets:
        had = set(side.tickets)
        side.engine.turn()
        side._end_runs()
        order += sorted(had - set(side.tickets))
    side.engine.close()
    ours.close()
    theirs.close()
    assert order[0] == 3 and sorted(order) == [0, 1, 2, 3]


def test_a_call_that_is_dropped_ends_in_the_engine_at_once() -> None:
    """An order of a million tokens: it is gone long before it could have ended by itself."""
    ours, theirs = socket.socketpair()
    model = toy(hashed(4, shortest=40, seed=2), 4, context=2**20)
    side = EngineSide(Engine(model, slots=2**20), theirs)
    thread = threading.Thread(target=side.serve)
    thread.start()
    sampling = Sampling(temperature=1.0, max_tokens=10**6, ignore_eos=True)
    limits = Limits(written=10**6, seconds=3600.0, cache=1.0)

    async def leave() -> dict[str, float]:
        gateway = Gateway(Line(4, 4), Metrics())
        ours.setblocking(False)
        await gateway.connect(ours)
        call = gateway.call(Order(1, Once(), text="ab", sampling=sampling, is_streamed=True, limits=limits))
        news = await call.fetch(60.0)
        assert isinstance(news, News) and not call.ended
        gateway.drop(call)
        facts = await gateway.facts(60.0)  # the socket keeps its order: the engine has heard of the other
        await gateway.close()
        return dict(facts.values) if facts else {}

    try:
        facts = asyncio.run(leave())
    finally:
        side.is_over = True
        side.engine.nudge()
        thread.join(60)
        theirs.close()
    assert facts["running"] == facts["live_branches"] == 0 and facts["written"] < 10**6
