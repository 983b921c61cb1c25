"""A random model of a few thousand parameters that reads and writes bytes; a way to run commands on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import tokenizers
import torch
from safetensors.torch import save_file

from outthink import cli

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}
CHAT = "{% for m in messages %}{{ m['content'] }}{% endfor %}\n"


def _tensors() -> dict[str, torch.Tensor]:
    """Random weights; rows of letters and digits stand out, so that what it writes is text."""
    made = torch.Generator().manual_seed(0)
    shapes = {"model.embed_tokens.weight": (259, 32), "model.norm.weight": (32,)}
    for layer in range(2):
        at = f"model.layers.{layer}."
        shapes |= {at + "input_layernorm.weight": (32,), at + "post_attention_layernorm.weight": (32,)}
        shapes |= {at + "self_attn.q_proj.weight": (32, 32), at + "self_attn.o_proj.weight": (32, 32)}
        shapes |= {at + "self_attn.k_proj.weight": (16, 32), at + "self_attn.v_proj.weight": (16, 32)}
        shapes |= {at + f"mlp.{name}_proj.weight": (48, 32) for name in ("gate", "up")}
        shapes |= {at + "mlp.down_proj.weight": (32, 48)}
    drawn = {name: 0.3 * torch.randn(shape, generator=made) for name, shape in shapes.items()}
    return {name: one + 1 if one.dim() == 1 else one for name, one in drawn.items()}


def _tokenizer() -> tokenizers.Tokenizer:
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<pad>": 0, "<bos>": 1, "<eos>": 2} | {char: 3 + i for i, char in enumerate(alphabet)}
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    core.add_special_tokens(["<pad>", "<bos>", "<eos>"])
    return core


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of the model."""
    path = tmp_path_factory.mktemp("models") / "bytes-model"  # chance knows this name
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    save_file(_tensors(), path / "model.safetensors", metadata={"format": "pt"})
    _tokenizer().save(str(path / "tokenizer.json"))
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "chat_template": CHAT}
    (path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special})
    )
    return str(path)


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def outthink(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in this process."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: str) -> Ran:
        capsys.readouterr()
        code = cli.run(list(words))
        return Ran(code, *capsys.readouterr())

    return run
