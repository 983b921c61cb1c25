"""The parts of the server that are plain functions and bookkeeping, without a server."""

from __future__ import annotations

import hmac
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outthink import spec
from outthink.backends.toy import hashed, toy
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.serve import keys
from outthink.serve.bodies import parse
from outthink.serve.choices import Choices
from outthink.serve.errors import Refused
from outthink.serve.line import Busy, Entry, Line
from outthink.serve.telling import Telling, Ticket, held_back
from outthink.serve.wire import Lane, News, Order, Piece

# ---- the line


def test_nobody_takes_all_places_and_urgent_ones_go_first() -> None:
    line = Line(max_running=2, max_waiting=8)
    for number, who in enumerate(["a", "a", "a", "a", "b", "c"]):
        line.join(Entry(number, 0, who))
    started = [line.next(), line.next()]
    assert [e.number for e in started if e] == [0, 4] and line.next() is None
    line.join(Entry(9, -1, "a"))
    urgent = line.next()
    assert urgent is not None and urgent.number == 9  # beyond the two places
    line.leave(4)
    line.leave(9)
    after = line.next()
    assert after is not None and after.number == 5  # c has nothing in work; a has


def test_the_line_is_bounded_and_says_when_to_come_again() -> None:
    line = Line(max_running=1, max_waiting=4)
    line.join(Entry(0, 0, "a"))
    line.next()
    for number in range(1, 5):
        line.join(Entry(number, 0, "a"))
    line.mean = 3.0
    with pytest.raises(Busy) as full:
        line.join(Entry(5, 0, "a"))
    assert full.value.seconds == 15
    fair = Line(max_running=1, max_waiting=4)
    fair.join(Entry(0, 0, "b"))
    fair.next()
    fair.join(Entry(1, 0, "a"))
    fair.join(Entry(2, 0, "a"))
    with pytest.raises(Busy):  # half of the line is the others'
        fair.join(Entry(3, 0, "a"))
    fair.join(Entry(4, 0, "c"))


@given(st.lists(st.tuples(st.integers(-2, 2), st.sampled_from("abc")), max_size=30), st.integers(1, 4))
def test_everybody_is_served_once(asked: list[tuple[int, str]], places: int) -> None:
    line, served = Line(places, 100), []
    for number, (priority, who) in enumerate(asked):
        line.join(Entry(number, priority, who))
        while (entry := line.next()) is not None:
            served.append(entry.number)
            assert len(line.running) <= 2 * places
    while line.running:
        line.leave(min(line.running), 0.1)
        while (entry := line.next()) is not None:
            served.append(entry.number)
    assert sorted(served) == list(range(len(asked))) and not line.waiting and not line.turns


# ---- what is told


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_what_may_become_a_stop_text_is_held_back(text: str, stops: list[str]) -> None:
    """The longest end of the text that is a proper beginning of a stop text."""
    held = held_back(text, stops)
    kept = text[len(text) - held :]
    assert not held or any(s.startswith(kept) and s != kept for s in stops)
    longer = [n for n in range(held + 1, len(text) + 1) if any(s[:-1].startswith(text[-n:]) for s in stops)]
    assert not longer


pieces = st.builds(
    lambda i, text, lane, again, ended: News(
        1,
        pieces={i: Piece(text)},
        lanes={lane: Lane(lane, text, len(text), is_again=again, ended=ended)},
        written=len(text),
    ),
    st.integers(0, 2),
    st.text("xy", max_size=3),
    st.sampled_from(["0", "1"]),
    st.booleans(),
    st.sampled_from(["", "done"]),
)


@given(st.lists(pieces, min_size=1, max_size=12), st.data())
def test_news_that_grow_together_say_what_they_said_one_by_one(news: list[News], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(news) - 1)) if len(news) > 1 else st.just(set())))
    texts: list[tuple[dict[int, str], dict[str, str]]] = []
    for ends in ([*range(1, len(news) + 1)], [*cuts, len(news)]):
        content: dict[int, str] = {}
        lanes: dict[str, str] = {}
        start = 0
        for end in ends:
            joined = News(1)
            for one in news[start:end]:
                joined.add(_copy(one))
            start = end
            for i, piece in joined.pieces.items():
                content[i] = content.get(i, "") + piece.text
            for name, lane in joined.lanes.items():
                lanes[name] = lane.text if lane.is_again else lanes.get(name, "") + lane.text
        texts.append((content, lanes))
    assert texts[0] == texts[1]


def _copy(news: News) -> News:
    made = News(news.number, written=news.written)
    made.pieces = {i: Piece(p.text) for i, p in news.pieces.items()}
    made.lanes = {n: Lane(n, x.text, x.tokens, x.is_new, x.is_again, x.ended) for n, x in news.lanes.items()}
    return made


@pytest.mark.parametrize("stop", [("ab",), ("a", "cb"), ("bca", "cc")])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("drafter", ["none", "copy(n=1)"])
def test_streamed_text_is_the_text_whatever_stops_it(stop: tuple[str, ...], keep: bool, drafter: str) -> None:
    """On the toy, where every token is a letter; news are collected after every pass."""
    engine = Engine(toy(hashed(4, shortest=20, seed=2), 4), trace=Telling())
    stopped = 0
    for seed in range(40):
        sampling = Sampling(temperature=1.0, stop=stop, keep_stop=keep, max_tokens=20)
        order = Order(1, spec.parse("once"), n=2, sampling=sampling, is_streamed=True)
        ticket = Ticket(order)
        asked = Request(Choices(order.strategy, ticket), "ab", seed=seed, sampling=sampling, tag=ticket)
        part = drafter if drafter == "none" else spec.parse(drafter, "speculate")
        run = engine.start(replace(asked, speculate=part))
        told = ["", ""]
        while not run.is_done:
            engine.turn()
            news = ticket.collect()
            for i, piece in (news.pieces if news else {}).items():
                told[i] += piece.text
        assert run.answer is not None
        for i, choice in enumerate(ticket.choices_of(run.answer)):
            assert choice.text.startswith(told[i]) and told[i] + choice.rest.text == choice.text
            assert keep or not any(s in choice.text for s in stop)
            stopped += choice.finish == "stop"
    assert stopped > 20


def test_only_what_is_published_is_content() -> None:
    """A strategy that promises a beginning: that streams at once; what it writes elsewhere never does."""

    class Promise:
        async def __call__(self, root: Any, /) -> Any:
            aside, kept = root.fork(2)
            await aside.generate(Sampling(max_tokens=5, ignore_eos=True))
            await kept.generate(Sampling(max_tokens=3, ignore_eos=True))
            kept.publish(2)
            await kept.generate(Sampling(max_tokens=3, ignore_eos=True))
            from outthink.core.types import Answer

            return Answer(kept.text(), branch=kept)

    engine = Engine(toy(hashed(4, shortest=20, seed=2), 4), trace=Telling())
    ticket = Ticket(Order(1, Promise(), is_streamed=True))
    run = engine.start(Request(Choices(Promise(), ticket), "ab", tag=ticket))
    told: list[str] = []
    while not run.is_done:
        engine.turn()
        news = ticket.collect()
        told += [p.text for p in news.pieces.values()] if news else []
    assert run.answer is not None
    assert told == [run.answer.text[:2]]
    assert ticket.choices_of(run.answer)[0].rest.text == run.answer.text[2:]


# ---- keys and bodies


def test_every_key_is_compared_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("a: aaaaaaaaaaaaaaaa\nbbbbbbbbbbbbbbbb # nameless\n")
    held = keys.read_keys(file)
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda x, y: compared.append(1) or real(x, y))
    found = [held.holder(k) for k in ("a" * 16, "b" * 16, "c" * 16, "", "\udcff")]
    assert found == ["a", "key2", None, None, None] and len(compared) == 2 * 5
    assert "aaaa" not in repr(held)


def test_depth_is_counted_as_json_counts_it() -> None:
    assert parse(b'{"a": [{"b": 1}]}', 4) == {"a": [{"b": 1}]}
    for deep in (b"[[[[1]]]]", b'{"a": [{"b": [1]}]}', b"[" * 10**6):
        with pytest.raises(Refused, match="deeper than 3"):
            parse(deep, 3)
    assert parse(b"[[[1]]]", 3) == [[[1]]]
