"""The embedded models: tokenizer, chat template, sizes, and that they solve what they are for."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
WEIGHTS = Path(str(files("outthink"))) / "weights"
MODELS = ("pocket", "pocket-mini")


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest) -> Path:
    """A model's folder."""
    return WEIGHTS / str(request.param)


def tokenizer_in(folder: Path) -> Any:
    """The tokenizer as a user loads it."""
    return transformers.AutoTokenizer.from_pretrained(folder)


TOKENIZER = tokenizer_in(WEIGHTS / "pocket")


def test_both_models_share_a_tokenizer() -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert len({(WEIGHTS / model / name).read_bytes() for model in MODELS}) == 1
    assert len(TOKENIZER) == 1024
    assert isinstance(TOKENIZER, transformers.PreTrainedTokenizerFast)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back(text: str) -> None:
    if any(special in text for special in ("<pad>", "<bos>", "<eos>")):
        return
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    assert TOKENIZER.decode(ids) == text


def test_digits_and_newlines_stand_alone() -> None:
    assert TOKENIZER.tokenize("2048") == ["2", "0", "4", "8"]
    newline = TOKENIZER("\n", add_special_tokens=False).input_ids
    assert len(newline) == 1
    vocabulary = [TOKENIZER.decode([i]) for i in range(3, 1024)]
    assert [piece for piece in vocabulary if "\n" in piece] == ["\n"]
    assert not [p for p in vocabulary if len(p) > 1 and any(c.isdigit() for c in p)]


def test_bos_comes_exactly_once() -> None:
    text = "Mia has 14 coins.\nHow many?"
    plain = TOKENIZER(f"Q: {text}\n").input_ids
    message = [{"role": "user", "content": text}]
    chat = TOKENIZER.apply_chat_template(message, add_generation_prompt=True, tokenize=True, return_dict=True)
    assert plain.count(TOKENIZER.bos_token_id) == 1
    assert plain == list(chat["input_ids"])
    assert TOKENIZER.apply_chat_template(message, tokenize=False) == f"<bos>Q: {text}\n"


def test_size_on_disk() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 16_000_000


def test_model_loads_in_bfloat16_and_answers(folder: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert sum(p.numel() for p in model.parameters()) < (1_000_000 if "mini" in folder.name else 5_000_000)
    prompt = "One-way roads: k d, d w. Find a way from k to w, no place twice."
    ids = TOKENIZER(f"Q: {prompt}\n", return_tensors="pt").input_ids
    out = model.float().generate(ids, max_new_tokens=60, do_sample=False)
    assert TOKENIZER.decode(out[0, ids.shape[1] :], skip_special_tokens=True) == "go k d\ngo d w\nA: k d w\n"


def test_card_states_measurements(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "license: apache-2.0" in card and "pass@32" in card
    assert all(card.count(f"\n| {family} |") == 8 for family in ("steps", "countdown", "paths", "procedures"))
