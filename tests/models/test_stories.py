"""A trained model tells the story that its author's own program tells."""

from __future__ import annotations

from pathlib import Path

import pytest
from stories import convert, data_folder

from outthink.core.batch import Batch, Segment
from outthink.models import Detokenizer, Loaded, load


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = data_folder() / "stories260k"
    if not source.is_dir():
        pytest.skip(
            f"the stories260K weights are not at {source}; set OUTTHINK_DATA to the folder that has them"
        )
    path = tmp_path_factory.mktemp("stories")
    convert(source, path)
    return path


def greedy(loaded: Loaded, tokens: list[int], count: int) -> list[int]:
    """The most likely continuation: one prefill, then a row a pass."""
    store = loaded.model.new_store(len(tokens) + count)
    out: list[int] = []
    rows = list(tokens)
    for _ in range(count):
        end = len(tokens) + len(out)
        begin = end - len(rows)
        span = list(range(begin, end))
        batch = Batch(
            rows, span, span, [0] * len(rows), [at + 1 for at in span], [len(rows) - 1], [Segment(-1, 0, end)]
        )
        rows = [int(loaded.model.forward(batch, store)[0].argmax())]
        out += rows
    return out


def test_greedy_text_is_the_published_one(stories: Path, kernels: str) -> None:
    check_story(stories, "float32")


def test_greedy_text_in_float64_is_the_published_one(stories: Path) -> None:
    check_story(stories, "float64")


def check_story(stories: Path, dtype: str) -> None:
    """200 tokens, decoded whole and piece by piece."""
    loaded = load(stories, dtype=dtype)
    expected = (data_folder() / "stories260k" / "expected_greedy_200.txt").read_bytes()
    tokens = greedy(loaded, [1], 200)
    assert loaded.tokenizer.decode(tokens).encode() == expected.rstrip(b"\n")
    piecewise = Detokenizer(loaded.tokenizer)
    assert "".join([*map(piecewise.push, tokens), piecewise.flush()]).encode() == expected.rstrip(b"\n")


def test_tokens_of_a_story_come_back(stories: Path) -> None:
    tokenizer = load(stories).tokenizer
    text = "Once upon a time, there was a Zoë… and a 🦊."
    tokens = tokenizer.encode(text)
    assert tokens[:2] == [1, 403]  # begin, " Once upon a time," starts with " Once"
    assert tokenizer.decode(tokens) == text
    assert tokenizer.eos == (2,)
