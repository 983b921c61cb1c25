"""Tokens to text and back: special tokens, chat templates, and text that arrives piece by piece."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from outthink.models import Detokenizer, ModelError, Tokenizer


def byte_level() -> tokenizers.Tokenizer:
    """Bytes and a few merges, as GPT-2, Llama 3 and Qwen have them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: index for index, letter in enumerate(letters)}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("ð", "Ł"), ("ðŁ", "ĺ")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    core = tokenizers.Tokenizer(models.BPE(vocab, merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<|begin|>", "<|end|>"])
    return core


def sentence_pieces() -> tokenizers.Tokenizer:
    """Pieces that start words with a mark, bytes for the rest, as Llama 2 and Mistral have them."""
    names = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcdeot ",
        "▁a",
        "▁to",
        "to",
    ]
    vocab = {name: index for index, name in enumerate(dict.fromkeys(names))}
    merges = [("▁", "a"), ("t", "o"), ("▁", "to")]
    core = tokenizers.Tokenizer(
        models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(["<unk>", "<s>", "</s>"])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return core


BYTES, PIECES = Tokenizer(byte_level(), {}), Tokenizer(sentence_pieces(), {"bos_token": "<s>"})
some_text = st.text("abtheo \né漢😀\u200d\u0301", max_size=12)


def halves(text: str) -> bool:
    return "\ufffd" in text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=some_text)
@pytest.mark.parametrize("tokenizer", [BYTES, PIECES], ids=["bytes", "pieces"])
def test_pieces_of_a_text_are_whole_characters_and_add_up(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text, special=False)
    piecewise = Detokenizer(tokenizer)
    pieces = [*map(piecewise.push, tokens), piecewise.flush()]
    assert "".join(pieces) == tokenizer.decode(tokens) == text
    assert not any(map(halves, pieces))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(tokens=st.lists(st.integers(0, 255), max_size=12))
def test_any_tokens_at_all(tokens: list[int]) -> None:
    piecewise = Detokenizer(BYTES)
    text = "".join([*map(piecewise.push, tokens), piecewise.flush()])
    assert text == BYTES.decode(tokens)


def test_a_character_waits_for_its_last_byte() -> None:
    tokens = BYTES.encode("a😀b")
    piecewise = Detokenizer(BYTES)
    assert [piecewise.push(token) for token in tokens] == ["a", *[""] * (len(tokens) - 3), "😀", "b"]
    piecewise.push(BYTES.encode("😀")[0])
    assert piecewise.flush() == "\ufffd"


def test_special_tokens() -> None:
    assert PIECES.encode("a") == [1, *PIECES.encode("a", special=False)]
    assert PIECES.decode([1, *PIECES.encode("a to", special=False), 2]) == "a to"
    without = Tokenizer(sentence_pieces(), {"bos_token": "<s>", "add_bos_token": False})
    assert without.encode("a") == PIECES.encode("a", special=False)
    added = Tokenizer(byte_level(), {"bos_token": {"content": "<|begin|>"}, "add_bos_token": True})
    assert added.encode("a") == [added.bos, *BYTES.encode("a")]
    assert added.encode("<|begin|>a") == [added.bos, *BYTES.encode("a")]


TEMPLATE = """{{ bos_token }}{% for message in messages %}
[{{ message['role'] }}] {{ message['content'] }}
{% endfor %}
{% if add_generation_prompt %}[assistant]{% endif %}"""


@pytest.mark.parametrize("where", ["file", "setting", "named setting"])
def test_chat_follows_the_template(tmp_path: Path, where: str) -> None:
    byte_level().save(str(tmp_path / "tokenizer.json"))
    given = {"setting": TEMPLATE, "named setting": [{"name": "default", "template": TEMPLATE}]}
    config = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
    if where == "file":
        (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    else:
        config["chat_template"] = given[where]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.from_directory(tmp_path)
    tokens = tokenizer.chat([{"role": "user", "content": "the 😀"}])
    assert tokens == tokenizer.encode("<|begin|>[user] the 😀\n[assistant]", special=False)
    assert tokens[0] == tokenizer.bos
    assert tokenizer.eos == (tokenizer.core.token_to_id("<|end|>"),)


def test_chat_without_a_template_is_plain_text() -> None:
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "to"}]
    assert PIECES.chat(messages) == PIECES.encode("a\n\nto")


def test_templates_refuse_and_are_confined() -> None:
    refusing = Tokenizer(byte_level(), {}, "{{ raise_exception('no system role') }}")
    with pytest.raises(ModelError, match="no system role"):
        refusing.chat([])
    escaping = Tokenizer(byte_level(), {}, "{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(ModelError, match="chat template"):
        escaping.chat([])


def test_slow_forms_are_converted(tmp_path: Path) -> None:
    core = byte_level()
    core.model.save(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    tokenizer = Tokenizer.from_directory(tmp_path)
    assert tokenizer.decode(tokenizer.encode("the 漢")) == "the 漢"
