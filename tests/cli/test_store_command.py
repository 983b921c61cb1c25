"""`outthink store`: what it builds is looked up exactly; what is no datastore is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outthink.backends.load import load_tokenizer
from outthink.cli.store import CHUNK
from outthink.speculate._suffixes import open_suffixes

Run = Callable[..., Any]
LINES = ["the cat sat on the mat\n", "the cat ate\n", "a dog\n"]


@pytest.fixture
def notes(tmp_path: Path) -> str:
    place = tmp_path / "notes.txt"
    place.write_text("".join(LINES))
    return str(place)


@pytest.fixture
def built(outthink: Run, notes: str, model: str, tmp_path: Path) -> str:
    out = str(tmp_path / "notes.store")
    assert outthink("store", "build", notes, "--model", model, "--out", out).code == 0
    return out


def test_what_is_built_is_what_was_written(built: str, model: str) -> None:
    tokenizer, vocab = load_tokenizer(model)
    found, (encoded, low) = open_suffixes(built), (tokenizer.encode("the cat ", special=False), vocab)
    assert found.vocab == low == 259 and found.texts == 1
    after = {tokenizer.decode([t]): n for t, n in found.followers(encoded).items()}
    assert after == {"s": 1, "a": 1}
    assert found.count(tokenizer.encode("the ", special=False)) == 3


def test_lines_of_json_are_texts_of_their_own(outthink: Run, model: str, tmp_path: Path) -> None:
    place, out = tmp_path / "past.jsonl", str(tmp_path / "past.store")
    place.write_text("\n".join(json.dumps({"answer": line, "n": 1}) for line in LINES) + "\n\n")
    told = outthink(
        "store", "build", str(place), "--field", "answer", "--model", model, "--out", out, "--json"
    )
    assert told.json["texts"] == 3 and told.json["tokens"] == sum(map(len, LINES))
    assert told.json["bytes"] == Path(out).stat().st_size
    tokenizer, _ = load_tokenizer(model)
    assert open_suffixes(out).followers(tokenizer.encode("a dog\n", special=False)) == {}, "there it ends"


def test_a_long_text_in_pieces_is_one_text(outthink: Run, model: str, tmp_path: Path) -> None:
    place, out = tmp_path / "long.txt", str(tmp_path / "long.store")
    place.write_text("".join(f"line {i} of many\n" for i in range(CHUNK // 8)))
    told = outthink("store", "build", str(place), "--model", model, "--out", out, "--json").json
    assert (told["texts"], told["tokens"]) == (1, place.stat().st_size) and told["tokens"] > 2 * CHUNK
    tokenizer, _ = load_tokenizer(model)
    words = tokenizer.encode(" of many\nline", special=False)
    assert open_suffixes(out).count(words) == CHUNK // 8 - 1, "across every border"


def test_info_checks_the_file_and_the_tokenizer(outthink: Run, built: str, model: str) -> None:
    told = outthink("store", "info", built, "--json", "--model", model)
    assert told.code == 0 and told.json["tokens"] == sum(map(len, LINES)) and told.json["vocab"] == 259
    refused = outthink("store", "info", built, "--model", "pocket")
    assert refused.code == 2 and "notes.store is of another tokenizer" in refused.err
    whole = Path(built).read_bytes()
    Path(built).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused = outthink("store", "info", built)
    assert refused.code == 2 and "notes.store is corrupt" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("build",), "give files"),
        (("build", "nowhere.txt", "--out", "x.store"), "nowhere.txt is not a file"),
        (("build", "empty.txt", "--out", "x.store"), "needs texts"),
        (("build", "bytes.txt", "--out", "x.store"), "bytes.txt:2 is not UTF-8"),
        (("build", "bad.jsonl", "--out", "x.store"), "bad.jsonl:2 is not a line of JSON"),
        (("build", "other.jsonl", "--out", "x.store"), "other.jsonl:1 has no text in the field 'text'"),
        (("build", "fine.txt", "--out", "no/such/folder/x.store"), "No such file"),
        (("build", "fine.txt", "--out", "x.store", "--model", "pockt"), "pocket"),
        (("info",), "give a datastore"),
        (("info", "fine.txt"), "fine.txt is no datastore"),
        (("bild",), "No such command"),
    ],
)
def test_bad_input_is_said_in_a_line_and_leaves_nothing(
    outthink: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fine.txt").write_text("fine\n")
    Path("empty.txt").write_text("")
    Path("bytes.txt").write_bytes(b"fine\n\xff\n")
    Path("bad.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    Path("other.jsonl").write_text('{"answer": "fine"}\n')
    before = sorted(p.name for p in tmp_path.iterdir())
    told = outthink("store", *words)
    assert told.code in (1, 2) and said in told.err and len(told.err.strip().splitlines()) == 1, told.err
    assert sorted(p.name for p in tmp_path.iterdir()) == before, "no half of a file stays"


def test_a_build_that_fails_leaves_the_old_datastore(outthink: Run, built: str, model: str) -> None:
    """Whatever goes wrong while it reads or writes: the file that drafters may be reading is as it was."""
    before = Path(built).read_bytes()
    bad = Path(built).with_name("bytes.txt")
    bad.write_bytes(b"\xff\n")
    assert outthink("store", "build", str(bad), "--model", model, "--out", built).code == 2
    assert Path(built).read_bytes() == before
    assert [p.name for p in Path(built).parent.iterdir() if p.name.startswith(".")] == []


def test_the_store_is_drafted_from(outthink: Run, model: str, tmp_path: Path) -> None:
    """What was written once, built into a store, is accepted when it is written again: the whole road."""
    words = ("solve", "Q", "--model", model, "--temperature", "0", "--max-tokens", "40", "--json")
    plain = outthink(*words).json
    past, out = tmp_path / "past.txt", str(tmp_path / "past.store")
    past.write_text("Q\n" + plain["text"])
    assert outthink("store", "build", str(past), "--model", model, "--out", out).code == 0
    again = outthink(*words, "--speculate", f"store(path='{out}')").json
    assert again["text"] == plain["text"]
    tally = again["receipt"]["speculation"]["store"]
    assert tally["is_warm"] and tally["accepted"] > 10
    other = outthink("solve", "Q", "--model", "pocket", "--speculate", f"store(path='{out}')")
    assert other.code == 2 and "past.store is of another tokenizer" in other.err
