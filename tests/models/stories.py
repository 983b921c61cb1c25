"""A real trained model: karpathy's stories260K (llama2.c "version 0" export) as a Hugging Face directory."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import decoders, models, normalizers

FIRST_PIECE = 259  # unk, begin, end, 256 bytes


def data_folder() -> Path:
    """Where test data lies: OUTTHINK_DATA, else ../shared/data beside the checkout."""
    return Path(os.environ.get("OUTTHINK_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def convert(source: Path, target: Path) -> None:
    """Write config.json, model.safetensors and tokenizer.json from stories260K.bin and tok512.bin."""
    raw = (source / "stories260K.bin").read_bytes()
    dim, inner, layers, heads, kv_heads, vocab, positions = struct.unpack("<7i", raw[:28])
    numbers = np.frombuffer(raw, dtype="<f4", offset=28)
    save_file(
        _tensors(numbers, dim, inner, layers, heads, kv_heads, abs(vocab)), target / "model.safetensors"
    )
    config = {
        "model_type": "llama",
        "vocab_size": abs(vocab),
        "hidden_size": dim,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": positions,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (target / "config.json").write_text(json.dumps(config))
    _tokenizer(source / "tok512.bin").save(str(target / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (target / "tokenizer_config.json").write_text(json.dumps(special | {"add_bos_token": True}))


def _tensors(
    numbers: np.ndarray, dim: int, inner: int, layers: int, heads: int, kv_heads: int, vocab: int
) -> dict[str, torch.Tensor]:
    """The tensors in file order by name; query and key rows go from interleaved to half-split."""
    at = 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal at
        size = int(np.prod(shape))
        at += size
        return torch.from_numpy(numbers[at - size : at].reshape(shape).copy())

    def halves(weight: torch.Tensor, count: int) -> torch.Tensor:
        return weight.view(count, -1, 2, dim).transpose(1, 2).reshape(weight.shape)

    tensors = {"model.embed_tokens.weight": take(vocab, dim)}
    key = dim // heads * kv_heads
    order = [
        ("input_layernorm", (dim,)),
        ("self_attn.q_proj", (dim, dim)),
        ("self_attn.k_proj", (key, dim)),
        ("self_attn.v_proj", (key, dim)),
        ("self_attn.o_proj", (dim, dim)),
        ("post_attention_layernorm", (dim,)),
        ("mlp.gate_proj", (inner, dim)),
        ("mlp.down_proj", (dim, inner)),
        ("mlp.up_proj", (inner, dim)),
    ]
    for name, shape in order:
        for layer, weight in enumerate(take(layers, *shape)):
            count = {"self_attn.q_proj": heads, "self_attn.k_proj": kv_heads}.get(name)
            tensors[f"model.layers.{layer}.{name}.weight"] = (
                halves(weight, count) if count else weight
            ).clone()
    tensors["model.norm.weight"] = take(dim)
    return tensors


def _tokenizer(path: Path) -> tokenizers.Tokenizer:
    """Byte-pair merges in the order of their scores, with bytes for what no piece covers."""
    raw, at = path.read_bytes(), 4
    pieces: list[tuple[str, float]] = []
    while at < len(raw):
        score, length = struct.unpack_from("<fi", raw, at)
        pieces.append((raw[at + 8 : at + 8 + length].decode(), score))
        at += 8 + length
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names += [text.replace(" ", "▁") for text, _ in pieces[FIRST_PIECE:]]
    vocab = {name: index for index, name in enumerate(names)}
    by_score = sorted(range(FIRST_PIECE, len(pieces)), key=lambda index: -pieces[index][1])
    merges = [
        (names[index][:cut], names[index][cut:])
        for index in by_score
        for cut in range(1, len(names[index]))
        if names[index][:cut] in vocab and names[index][cut:] in vocab
    ]
    core = tokenizers.Tokenizer(
        models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(["<unk>", "<s>", "</s>"])
    return core
