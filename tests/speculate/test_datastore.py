"""The datastore: counts equal naive scanning, lookups the longest suffix, bad files are refused by name."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outthink.backends.toy import ToyTokenizer, hashed, toy
from outthink.core.errors import BadInput
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.speculate import Store
from outthink.speculate._suffixes import _checksum, build, fingerprint, open_suffixes
from outthink.speculate.store import write_store
from outthink.strategy.vote import Vote

VOCAB = 5


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    chance = random.Random(3)
    return [[chance.randrange(1, VOCAB) for _ in range(chance.randrange(1, 60))] for _ in range(30)]


@pytest.fixture
def path(tmp_path: Path, texts: list[list[int]]) -> str:
    build(tmp_path / "texts.store", texts, ToyTokenizer(VOCAB), VOCAB)
    return str(tmp_path / "texts.store")


def naive(texts: list[list[int]], words: list[int]) -> list[int]:
    """What followed every occurrence; -1 for the end of a text."""
    n = len(words)
    return [
        text[i + n] if i + n < len(text) else -1
        for text in texts
        for i in range(len(text) - n + 1)
        if text[i : i + n] == words
    ]


def test_counts_equal_naive_scanning(path: str, texts: list[list[int]]) -> None:
    store, chance = open_suffixes(path), random.Random(1)
    for _ in range(400):
        words = [chance.randrange(1, VOCAB) for _ in range(chance.randrange(1, 6))]
        found = naive(texts, words)
        assert store.count(words) == len(found)
        assert store.followers(words) == {t: found.count(t) for t in sorted(set(found) - {-1})}
    assert store.texts == len(texts) and store.size == sum(map(len, texts)) + len(texts)


def test_a_lookup_finds_the_longest_suffix(path: str, texts: list[list[int]]) -> None:
    store, chance = open_suffixes(path), random.Random(2)
    for _ in range(400):
        context = [chance.randrange(1, VOCAB) for _ in range(12)]
        length, found = store.after(context, 1, 12, 1000, 3)
        longest = max(n for n in range(1, 13) if naive(texts, context[-n:]))
        assert length == longest
        after = [t for t in naive(texts, context[-length:]) if t >= 0]
        assert sorted(text[0] for text in found) == sorted(after)


def test_the_order_is_exact_for_long_repeats(tmp_path: Path) -> None:
    """Texts that agree for longer than the order goes are still counted right to that depth."""
    texts = [[1, 2] * 100, [1, 2] * 90 + [3], [1] * 80]
    build(tmp_path / "long", texts, ToyTokenizer(VOCAB), VOCAB)
    store = open_suffixes(str(tmp_path / "long"))
    for words in ([1, 2] * 16, [2, 1] * 10, [1] * 32, [2, 3], [1, 1]):
        assert store.count(words) == len(naive(texts, words))
    with pytest.raises(BadInput, match="1 to 32 tokens"):
        store.count([1] * 33)


def test_a_vocabulary_above_two_bytes(tmp_path: Path) -> None:
    class Wide:
        def decode(self, tokens: Any) -> str:
            return str(tokens)

    build(tmp_path / "wide", [[70000, 1, 2], [70000, 1, 3, 4]], Wide(), 70001)
    assert open_suffixes(str(tmp_path / "wide")).followers([70000, 1]) == {2: 1, 3: 1}


def run(path: str, **drafter: Any) -> Any:
    sampling = Sampling(temperature=1.0, max_tokens=20)
    local = toy(hashed(VOCAB, seed=4), VOCAB)
    request = Request(Vote(n=3), "ab", sampling=sampling, speculate=Store(path, **drafter) if path else None)
    return Engine(local).run(request)


def test_a_store_drafts_and_is_warm(path: str) -> None:
    plain, drafted = run(""), run(path)
    assert drafted.text == plain.text and drafted.receipt.logical == plain.receipt.logical
    tally = drafted.receipt.speculation["store"]
    assert tally.is_warm and tally.drafted > tally.accepted > 0


def test_past_runs_make_the_next_one_shorter(tmp_path: Path) -> None:
    """What was written is stored; the same request again is drafted from it."""
    sampling = Sampling(temperature=1.0, max_tokens=30, ignore_eos=True)
    local = toy(hashed(VOCAB, seed=4), VOCAB)
    studio: Any = SimpleNamespace(tokenizer=local.tokenizer, vocab=VOCAB)
    past = Engine(local).run(Request(Vote(n=1), "ab", sampling=sampling))
    write_store(tmp_path / "past", ["ab" + past.text], studio)
    request = Request(Vote(n=1), "ab", sampling=sampling, speculate=Store(str(tmp_path / "past")))
    again = Engine(toy(hashed(VOCAB, seed=4), VOCAB)).run(request)
    assert again.text == past.text
    assert again.receipt.actual.passes < past.receipt.actual.passes * 0.6


def test_a_corrupt_file_is_refused_by_name(path: str) -> None:
    whole = Path(path).read_bytes()
    for at in (0, 40, len(whole) - 200, len(whole) - 1):  # a flipped bit anywhere, an end cut off
        bad = bytearray(whole)
        bad[at] ^= 4
        Path(path).write_bytes(bad)
        with pytest.raises(BadInput, match="texts.store"):
            open_suffixes(path)
    for size in (0, 10, 100, len(whole) - 4):
        Path(path).write_bytes(whole[:size])
        with pytest.raises(BadInput, match="texts.store"):
            open_suffixes(path)
    Path(path).write_bytes(whole)
    assert open_suffixes(path).size > 0


def test_a_header_that_lies_is_refused(path: str) -> None:
    """Even one with a right checksum."""
    magic, rest = Path(path).read_bytes().split(b"\n", 1)
    head, body = rest.split(b"\n", 1)
    header = json.loads(head[: head.index(b"}") + 1])
    lies = [
        {"tokens": 5},
        {"tokens": "many"},
        {"width": 3},
        {"tokens": -4},
        {"vocab": None},
        {"endian": "up"},
    ]
    for lie in [{}, *lies]:
        told = {k: v for k, v in {**header, **lie}.items() if v is not None}
        words = json.dumps(told).encode()
        start = b"\n".join([magic, words + b" " + _checksum(words, body)])
        Path(path).write_bytes(start + b" " * (-(len(start) + 1) % 8) + b"\n" + body)
        if lie:
            with pytest.raises(BadInput, match="corrupt"):
                open_suffixes(path)
        else:
            assert open_suffixes(path).size > 0


def test_another_tokenizer_and_a_missing_file_are_refused_by_name(path: str, tmp_path: Path) -> None:
    build(path, [[1, 2, 3]], ToyTokenizer(VOCAB + 1), VOCAB + 1)
    with pytest.raises(BadInput, match=r"texts\.store is of another tokenizer"):
        run(path)
    with pytest.raises(BadInput, match="nowhere"):
        run(str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match="datastore"):
        run(str(tmp_path))


def test_what_cannot_be_a_store_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs texts"):
        build(tmp_path / "x", [], ToyTokenizer(VOCAB), VOCAB)
    with pytest.raises(BadInput, match="needs texts"):
        build(tmp_path / "x", [[], []], ToyTokenizer(VOCAB), VOCAB)
    with pytest.raises(BadInput, match="outside of the vocabulary"):
        build(tmp_path / "x", [[VOCAB + 1]], ToyTokenizer(VOCAB), VOCAB)
    assert not (tmp_path / "x").exists()


def test_fingerprints_part_tokenizers() -> None:
    class Shifted(ToyTokenizer):
        def decode(self, tokens: Any) -> str:
            return super().decode([(t + 1) % self.vocab for t in tokens])

    names = {fingerprint(ToyTokenizer(5), 5), fingerprint(ToyTokenizer(6), 6), fingerprint(Shifted(5), 5)}
    assert len(names) == 3 and fingerprint(ToyTokenizer(5), 5) in names


def test_a_lookup_looks_at_few_places(tmp_path: Path) -> None:
    """What bounds its time: tokens read grow with the logarithm of the corpus, not with it."""
    chance = np.random.default_rng(0)
    reads = {}
    for size in (2_000, 200_000):
        file = tmp_path / str(size)
        build(file, [chance.integers(1, VOCAB, size).tolist()], ToyTokenizer(VOCAB), VOCAB)
        store = open_suffixes(str(file))
        counting = Counting(store.order)
        store.order = counting  # type: ignore[assignment]
        for _ in range(20):
            store.after(chance.integers(1, VOCAB, 16).tolist(), 2, 16, 16, 8)
        reads[size] = counting.reads / 20
    assert reads[200_000] < reads[2_000] + 30


class Counting:
    def __init__(self, order: Any) -> None:
        self.order, self.reads = order, 0

    def __getitem__(self, at: int) -> int:
        self.reads += 1
        return int(self.order[at])


def test_a_full_disk_leaves_the_old_datastore(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written beside the old one and takes its name when it is whole."""

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    before = Path(path).read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        build(path, [[1, 2, 3]], ToyTokenizer(VOCAB), VOCAB)
    assert Path(path).read_bytes() == before and [p.name for p in Path(path).parent.iterdir()] == [
        "texts.store"
    ]
