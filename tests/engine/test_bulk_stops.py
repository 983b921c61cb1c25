"""Tokens taken many at a time say what they say one by one: texts that are looked through for stops, draws
along kept rows, reads that share a row."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import outthink as ot
from outthink.core.jobs import Draw, Drawn, Read
from outthink.core.tree import Node
from outthink.core.types import Sampling, Want
from outthink.decode.statistics import read
from outthink.engine.stops import StopText
from outthink.engine.walk import _drawn


@pytest.fixture(scope="module")
def lm() -> Any:
    return ot.load("pocket", threads=1)


PARTS = ["3 + 4", " =", " ", "7", "\n", "so ", "é", "漢", "🙂", "x"]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, data=st.data())
def test_a_text_in_pieces_of_any_size_has_the_same_stops(lm: Any, text: str, data: st.DataObject) -> None:
    tokenizer = lm.main.tokenizer
    tokens = tokenizer.encode(text, special=False)
    stops = ("\n", "= 7", "漢")
    one, many = (StopText(tokenizer.detokenizer(), stops) for _ in range(2))
    at = 0
    while at < len(tokens):
        size = data.draw(st.integers(1, 6))
        chunk, last = tokens[at : at + size - 1], tokens[at + size - 1 : at + size]
        hits = [one.push(token) for token in chunk]
        if any(hits):
            before = many.text
            assert not many.push_all(chunk) and many.text == before, "nothing is taken"
            return
        if not many.push_all(chunk):
            assert not any(many.push(token) for token in chunk)
        at += size
        for token in last:
            assert one.push(token) == many.push(token)
            assert (one.text, one.found, one.at) == (many.text, many.found, many.at)
            if one.found:
                return
    assert one.text == many.text


def test_a_stop_that_was_begun_before_is_seen(lm: Any) -> None:
    tokenizer = lm.main.tokenizer
    tokens = tokenizer.encode("x = 7 so so", special=False)
    seen = []
    for at in range(1, len(tokens)):
        watch = StopText(tokenizer.detokenizer(), ("= 7",))
        if not any(watch.push(token) for token in tokens[:at]):
            seen.append(watch.push_all(tokens[at:]))
            assert not seen[-1] and "= 7" not in watch.text
    assert len(seen) > 1, "some begin within the stop"


def test_a_cut_within_a_bulk_is_made_where_it_is_one_by_one(lm: Any) -> None:
    """The stop is cut off, or stays; what remains is the text up to there, also where rows were known."""
    problem = "Mia buys 3 bags of 6 coins. Mia finds 14 more. How many coins does Mia have in the end?"
    for keep in (True, False):
        for stop in ("\n", "= ", " 18"):
            sampling = ot.Sampling(0.8, max_tokens=60, stop=(stop,), keep_stop=keep)
            whole = ot.run("vote(n=4)", problem, lm, sampling=ot.Sampling(0.8, max_tokens=60), seed=3)
            cut = ot.run("vote(n=4)", problem, lm, sampling=sampling, seed=3)
            for long, short in zip((whole, *whole.others), (cut, *cut.others), strict=False):
                known = [a.text for a in (whole, *whole.others)]
                end = short.text.removesuffix(stop) if keep else short.text
                assert any(text.startswith(short.text) for text in known) and stop not in end, (long, short)


def test_draws_along_a_way_have_the_bits_of_draws_side_by_side(lm: Any) -> None:
    draw = lm.main.backend.draw
    if not hasattr(draw, "along"):
        pytest.skip("no kernels here: rows are drawn from as torch does")
    logits = torch.randn(5, lm.main.vocab, generator=torch.Generator().manual_seed(0))  # noise decides
    never, order = bytes(lm.main.vocab), [3, 0, 4, 1, 2]
    for temperature in (0.0, 0.7, 1.0):
        first = Draw(7, 17, 40, Sampling(temperature), ())  # which row it says is of no account
        beside = draw(logits, [first._replace(row=row, position=40 + i) for i, row in enumerate(order)])
        rows, tokens = [(logits, row) for row in order], [one.token for one in beside]
        assert draw.along(rows, first, tokens, never) == beside
        assert draw.along(rows, first, [*tokens[:2], -1, *tokens[3:]], never) == beside[:3]
        assert draw.along(rows, first, [-1] * 5, never) == beside[:1]
        last = bytes(token == tokens[3] for token in range(lm.main.vocab))
        assert draw.along(rows, first, tokens, last) == beside[: 1 + tokens.index(tokens[3])]
    assert draw.along(rows, Draw(0, 1, 1, Sampling(0.7, top_k=3), ()), tokens, never) is None
    assert draw.along([(logits.t(), 0)], Draw(0, 1, 1, Sampling(0.7), ()), tokens[:1], never) is None
    with pytest.raises(ValueError, match="5 rows, 4 told"):
        draw.along(rows, first, tokens[:4], never)
    with pytest.raises(ValueError, match="known to end or not"):
        draw.along(rows, first, tokens, never[1:])


@pytest.mark.parametrize("sampling", [Sampling(0.9), Sampling(0.9, top_k=5)])
def test_kept_rows_are_drawn_from_until_something_new_is_drawn(lm: Any, sampling: Sampling) -> None:
    """In C or one by one: the same draws."""
    backend, vocab = ot.load(str(lm.main.directory)).main.backend, lm.main.vocab
    backend._take_over(10**9)
    for first in (1, 4):
        backend._keep(first, torch.randn(3, vocab, generator=torch.Generator().manual_seed(first)))
    never, start = bytes(vocab), Draw(0, 3, 9, sampling, ())
    rows = torch.cat([backend._kept_row(number) for number in (2, 3, 4, 5)])
    beside = backend.draw(rows, [start._replace(row=i, position=9 + i) for i in range(4)])
    tokens = [one.token for one in beside]
    assert backend.again(10**9, [2, 3, 4, 5], start, tokens, never) == beside
    assert backend.again(10**9, [2, 3, 4, 5], start, [tokens[0], -1, *tokens[2:]], never) == beside[:2]
    ends = bytes(token == tokens[0] for token in range(vocab))
    assert backend.again(10**9, [2, 3, 4, 5], start, tokens, ends) == beside[:1]
    assert backend.again(1, [2], start, tokens[:1], never) == []


def one_by_one(stretch: Any, gone: int, ends: bytes | None, most: int) -> list[int]:
    """What a walk draws, a row at a time: the token that `drawn_at` says of the row and the position."""
    node, offset, tokens = stretch.branch.cursor.node, stretch.branch.cursor.offset, []
    while len(tokens) < min(most, stretch.allowed) and offset and node.rows[offset - 1] > gone:
        tokens.append(token := drawn_at(node.rows[offset - 1], stretch.position + len(tokens)))
        if ends is None or ends[token]:
            break
        if offset < len(node.tokens):
            if node.tokens[offset] != token:
                break
            offset += 1
        elif token in node.children:
            node, offset = node.children[token], 1
        else:
            break
    return tokens


def drawn_at(number: int, position: int) -> int:
    return random.Random(1000 * number + position).choice((0, 0, 0, 1, 2))


def again(tree: int, numbers: list[int], draw: Draw, told: list[int], ends: bytes) -> list[Drawn]:
    assert len(told) == len(numbers) > 0
    drawn = []
    for i, (number, expected) in enumerate(zip(numbers, told, strict=True)):
        drawn.append(Drawn(drawn_at(number, draw.position + i), 0.0, ()))
        if drawn[-1].token != expected or ends[drawn[-1].token]:
            break
    return drawn


def branching(rng: random.Random, depth: int) -> Node:
    """A node of a few tokens, most of them 0, with children by their first tokens; most rows are kept."""
    node = Node(None, 0, [rng.choice((0, 0, 0, 1)) for _ in range(rng.randint(1, 6))])
    node.rows = [rng.choice((0, 5, *range(6, 40))) for _ in node.tokens]
    for token in (0, 1, 2) if depth else ():
        if rng.random() < 0.7:
            child = branching(rng, depth - 1)
            child.tokens[0] = token
            node.children[token] = child
    return node


def test_a_walk_goes_where_it_would_go_row_by_row() -> None:
    """In random trees, from any place, to any length, with and without tokens that end a text."""
    lengths = []
    for seed in range(3000):
        rng = random.Random(seed)
        node = branching(rng, 3)
        cursor = SimpleNamespace(node=node, offset=rng.randint(0, len(node.tokens)))
        stretch: Any = SimpleNamespace(branch=SimpleNamespace(cursor=cursor), position=rng.randrange(9))
        stretch.allowed, stretch.cap, stretch.count = rng.randint(1, 12), 99, 0
        stretch.key, stretch.sampling, stretch.states = 0, Sampling(), ()
        place: Any = SimpleNamespace(admission=SimpleNamespace(gone=5), number=1, vocab=3)
        ends, most = rng.choice((None, b"\0\0\0", b"\0\0\1")), rng.randint(1, 9)
        column = [one.token for one in _drawn(stretch, place, again, ends, most)]
        assert column == one_by_one(stretch, 5, ends, most)
        lengths.append(len(column))
    assert max(lengths) > 4 and sum(length > 1 for length in lengths) > 300, (max(lengths), sum(lengths))


def test_readers_of_one_row_read_the_same() -> None:
    logits = torch.randn(4, 11, generator=torch.Generator().manual_seed(1))
    few, many = Want(top=3), Want(top=2, token=5, stats=("entropy",))
    wanted = ((2, few), (0, many), (2, few), (3, many), (2, many), (0, many))
    reads = [Read(row, want) for row, want in wanted]
    apart = [read(logits[r.row : r.row + 1].clone(), [Read(0, r.want)])[0] for r in reads]
    together = read(logits, reads)
    for mine, theirs in zip(together, apart, strict=True):
        assert [t for t, _ in mine.top] == [t for t, _ in theirs.top]
        assert [p for _, p in mine.top] == pytest.approx([p for _, p in theirs.top])
        assert mine.logprob == (None if theirs.logprob is None else pytest.approx(theirs.logprob))
        assert mine.stats == pytest.approx(theirs.stats)
    assert together[0] is together[2] and together[0] is not together[4]
