"""A Llama checkpoint in Hugging Face form as a GGUF file for llama.cpp, in float32, float16 or bfloat16.

    python -m benchmarks.gguf_export DIRECTORY FILE [--dtype float16] [--vocabulary]

Without a vocabulary the model takes token ids, as the benchmark gives them. With one it takes text, if its
tokenizer merges bytes; llama.cpp cuts text into words by rules of its own, so compare the prompts' tokens.
Norms stay float32, as llama.cpp wants them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import TokenType
from safetensors.torch import load_file

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
FILE_TYPES = {
    "float32": gguf.LlamaFileType.ALL_F32,
    "float16": gguf.LlamaFileType.MOSTLY_F16,
    "bfloat16": gguf.LlamaFileType.MOSTLY_BF16,
}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def export(directory: Path, file: Path, dtype: str = "float32", vocabulary: bool = False) -> None:
    """Write the file. ValueError for what this exporter does not know."""
    config = json.loads((directory / "config.json").read_text())
    if config["model_type"] != "llama" or config.get("rope_scaling") or config.get("attention_bias"):
        raise ValueError(f"{directory}: only plain llama models are exported here")
    writer = gguf.GGUFWriter(file, "llama")
    _add_facts(writer, config, dtype)
    if vocabulary:
        _add_vocabulary(writer, directory, config)
    else:
        writer.add_tokenizer_model("no_vocab")
    for name, tensor in load_file(directory / "model.safetensors").items():
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        wide = _paired(name, tensor.float(), config).contiguous().numpy()
        _add_tensor(writer, _renamed(name), wide, dtype if wide.ndim > 1 else "float32")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_facts(writer: gguf.GGUFWriter, config: dict[str, Any], dtype: str) -> None:
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name("benchmark")
    writer.add_file_type(FILE_TYPES[dtype])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _add_vocabulary(writer: gguf.GGUFWriter, directory: Path, config: dict[str, Any]) -> None:
    """Tokens, merges and the chat template. What is in no vocabulary is padding."""
    made = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    settings = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    if made["model"]["type"] != "BPE" or made["decoder"]["type"] != "ByteLevel":
        raise ValueError(f"{directory}: only tokenizers that merge bytes are exported here")
    tokens = {i: token for token, i in made["model"]["vocab"].items()}
    special = {one["id"]: one["content"] for one in made["added_tokens"] if one["special"]}
    tokens |= special
    size = range(config["vocab_size"])
    kinds = [
        TokenType.CONTROL if i in special else TokenType.NORMAL if i in tokens else TokenType.UNUSED
        for i in size
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([tokens.get(i, f"[unused{i}]") for i in size])
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in made["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(True)
    writer.add_chat_template(settings["chat_template"])


def _renamed(name: str) -> str:
    """model.layers.3.mlp.up_proj.weight -> blk.3.ffn_up.weight"""
    stem = name.removesuffix(".weight")
    if stem in TOP:
        return f"{TOP[stem]}.weight"
    _, _, layer, *part = stem.split(".")
    return f"blk.{layer}.{NAMES['.'.join(part)]}.weight"


def _paired(name: str, rows: torch.Tensor, config: dict[str, Any]) -> torch.Tensor:
    """Rows of queries and keys as llama.cpp turns them: neighbours are pairs, where HF pairs the halves."""
    for part, count in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
        if part in name:
            return rows.unflatten(0, (config[count], 2, -1)).transpose(1, 2).flatten(0, 2)
    return rows


def _add_tensor(writer: gguf.GGUFWriter, name: str, wide: np.ndarray, dtype: str) -> None:
    if dtype == "bfloat16":
        kind = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(name, gguf.quants.quantize(wide, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, wide.astype(dtype))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--dtype", choices=list(FILE_TYPES), default="float32")
    parser.add_argument("--vocabulary", action="store_true", help="so that it takes text")
    given = parser.parse_args()
    export(given.directory, given.file, given.dtype, given.vocabulary)


if __name__ == "__main__":
    main()
