"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("outthink", deadline=None)  # a machine may be busy
settings.load_profile("outthink")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Public data sets, if this machine has them: $OUTTHINK_DATA, or ../shared/data beside the checkout."""
    place = Path(os.environ.get("OUTTHINK_DATA") or ROOT.parent / "shared" / "data")
    if not place.is_dir():
        pytest.skip(f"no data sets at {place}: set OUTTHINK_DATA to a folder with gsm8k/ and math500/")
    return place


@pytest.fixture(scope="session")
def tiny_reward_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny random models: outcome (one label), outcome2 (two), process, and causal; and of a
    reward head for scripted models."""
    from heads import save_head

    from outthink.testing.scripted import VOCAB

    root = tmp_path_factory.mktemp("rewards")
    make_llama(root / "outcome", "SequenceClassification", 1)
    make_llama(root / "outcome2", "SequenceClassification", 2)
    make_llama(root / "process", "TokenClassification", 2)
    make_llama(root / "causal", "CausalLM", 2)
    save_head(root / "head", "scripted", "scripted", VOCAB)
    return root


def make_llama(place: Path, kind: str, labels: int) -> None:
    """A tiny random Llama with the head of that kind, and a tokenizer of bytes."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(place)
    config = transformers.LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, num_labels=labels, pad_token_id=299,
    )  # fmt: skip
    torch.manual_seed(0)
    getattr(transformers, f"LlamaFor{kind}")(config).save_pretrained(place)
