"""Drafts in 8 bits where weights do not fit the cache: python -m benchmarks.int8_draft [--out FILE]

A random Llama of about 100 million parameters is made to write something by its head: the direction of every
token's embedding is, times a number, the head's row of the token that follows it (a fixed random cycle). That
makes its rows peaked, so that what it writes is not noise and its 8-bit copy mostly agrees; how often is
measured and reported, and so is it on `pocket`, whose weights are trained. Seconds are those of one stream,
plain and drafted turn about, the best of some rounds; texts must be the same.

"From pocket" is what the measured times of passes give with the acceptance of pocket in place of the random
model's:

    speed-up = v(1) E[written] / (v(1 + n) + n v8(1)),    E[written] = 1 + a + a^2 + ... + a^n
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import outthink as ot
from outthink.backends.load import embedded
from outthink.backends.local import _apart, _fastest
from outthink.bench.tasks.steps import Steps
from outthink.core.jobs import Variant
from outthink.core.types import Answer, Sampling

SHAPE = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2048, "vocab_size": 16384}
ROWS = (1, 2, 3, 5, 9)
LENGTHS = (2, 4)  # of drafts
ROUNDS = 3


def make(directory: Path, scale: float) -> Path:
    """A random Llama whose head is peaked, with pocket's tokenizer; `scale` is of its depth."""
    torch.manual_seed(0)
    hidden, inner, vocab = (SHAPE[name] for name in ("hidden_size", "intermediate_size", "vocab_size"))
    layers = max(1, int(SHAPE["num_hidden_layers"] * scale))
    embed = torch.randn(vocab, hidden)
    follows = torch.randperm(vocab)
    tensors = {"model.embed_tokens.weight": embed, "model.norm.weight": torch.ones(hidden)}
    tensors["lm_head.weight"] = torch.empty_like(embed).index_copy_(0, follows, embed) * (12 / hidden)
    for index in range(layers):
        for name, outputs, inputs in matrices(hidden, inner):
            weight = torch.randn(outputs, inputs) * (0.4 * inputs**-0.5)
            tensors[f"model.layers.{index}.{name}.weight"] = weight
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{index}.{name}.weight"] = torch.ones(hidden)
    source = Path(embedded()["pocket"])
    config = json.loads((source / "config.json").read_text())
    config |= SHAPE | {"num_hidden_layers": layers, "num_attention_heads": 12, "num_key_value_heads": 12}
    config |= {"head_dim": hidden // 12, "tie_word_embeddings": False, "torch_dtype": "float32"}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).write_bytes((source / name).read_bytes())
    save_file(tensors, directory / "model.safetensors")
    return directory


def matrices(hidden: int, inner: int) -> Iterator[tuple[str, int, int]]:
    """Names and sizes of the matrices of a layer."""
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        yield f"self_attn.{name}", hidden, hidden
    for name, outputs, inputs in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
        yield f"mlp.{name}_proj", outputs, inputs


def write(
    lm: ot.Engine, problem: Any, sampling: Sampling, drafter: str, seed: int = 1
) -> tuple[float, Answer]:
    """Seconds and the answer of one stream."""
    began = time.perf_counter()
    answer = ot.run(ot.strategy.Sample(), problem, lm, seed=seed, sampling=sampling, speculate=drafter)
    return time.perf_counter() - began, answer


def contest(lm: ot.Engine, tokens: int, temperature: float, n: int) -> tuple[float, float, float]:
    """(tokens per second plain, drafted, acceptance) of the best of some rounds, turn about."""
    sampling = Sampling(temperature=temperature, max_tokens=tokens, ignore_eos=True)
    drafter, plain, drafted = f"int8(n={n})", [], []
    for _ in range(ROUNDS):
        seconds, one = write(lm, "abc", sampling, "none")
        plain.append(seconds)
        seconds, other = write(lm, "abc", sampling, drafter)
        drafted.append(seconds)
        if one.text != other.text or other.receipt is None or other.receipt.degradations:
            raise SystemExit(f"{drafter}: another text than plain, or the receipt has a complaint")
    tally = other.receipt.speculation["int8"]
    return tokens / min(plain), tokens / min(drafted), tally.accepted / max(1, tally.checked)


def acceptance(dtype: str, temperature: float, problems: int) -> float:
    """How likely pocket writes what its own 8-bit copy drafts, one token a draft."""
    lm, checked, accepted = ot.load("pocket", dtype=dtype), 0, 0
    for index in range(problems):
        sampling = Sampling(temperature=temperature, max_tokens=100)
        receipt = write(lm, Steps().problem("test", index), sampling, "int8(n=1)", seed=index)[1].receipt
        assert receipt is not None
        checked += receipt.speculation["int8"].checked
        accepted += receipt.speculation["int8"].accepted
    return accepted / max(1, checked)


@torch.inference_mode()
def times(lm: ot.Engine) -> tuple[dict[int, float], dict[int, float], float, float]:
    """Seconds of a pass by rows, of the model and of its copy, and the bytes of weights that each reads."""
    backend: Any = lm.main.backend
    copy, store = backend.variant(Variant(is_int8=True)), backend.model.new_store(ROWS[-1])
    own = {rows: _fastest(lambda rows=rows: backend.model.forward(_apart(rows), store)) for rows in ROWS}  # type: ignore[misc]
    its = {rows: _fastest(lambda rows=rows: copy.forward(_apart(rows), store)) for rows in ROWS}  # type: ignore[misc]
    parts = backend.model.parts
    held = sum(matrix.bytes for layer in parts.layers for matrix in layer.matrices) + parts.head.bytes
    return own, its, held, copy.weight_bytes


def predicted(own: dict[int, float], its: dict[int, float], n: int, rate: float) -> float:
    """The speed-up of drafts of n tokens that are accepted at a rate each."""
    return own[1] * sum(rate**i for i in range(n + 1)) / (own[1 + n] + n * its[1])


def section(directory: Path, tokens: int, problems: int) -> str:
    """The section of markdown."""
    lines = ["## Drafts in 8 bits where weights do not fit the cache", ""]
    rows: list[str] = []
    for dtype in ("float32", "bfloat16"):
        lm = ot.load(str(directory), dtype=dtype)
        own, its, held, copied = times(lm)
        if dtype == "float32":
            params = lm.main.backend.model.config.params
            lines += [
                f"A random Llama of {params / 1e6:.0f}M parameters, one stream, {lm.main.backend.machine}.",
                "",
            ]
            lines += [
                "| milliseconds of a pass, rows: | bytes of weights | " + " | ".join(map(str, ROWS)) + " |"
            ]
            lines += ["|---|---|" + "---|" * len(ROWS)]
        for name, table, size in ((dtype, own, held), (f"its copy in 8 bits ({dtype} cache)", its, copied)):
            cells = " | ".join(f"{1000 * table[count]:.2f}" for count in ROWS)
            lines.append(f"| {name} | {size / 1e6:.0f}M | {cells} |")
        for temperature in (0.0, 0.8):
            rate = acceptance(dtype, temperature, problems)
            for n in LENGTHS:
                plain, drafted, seen = contest(lm, tokens, temperature, n)
                rows.append(
                    f"| {dtype} | {temperature} | {n} | {plain:.1f} | {drafted:.1f} | "
                    f"{drafted / plain:.2f} | {seen:.3f} | {rate:.3f} | {predicted(own, its, n, rate):.2f} |"
                )
    names = (
        "dtype,temperature,n,plain tokens/s,drafted tokens/s,speed-up,accepted,on pocket,speed-up from pocket"
    )
    head = f"| {names.replace(',', ' | ')} |"
    return "\n".join([*lines, "", head, "|---" * 9 + "|", *rows, "", "Texts were the same in every run.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="append the section to this file")
    parser.add_argument("--scale", type=float, default=1.0, help="of the model's depth, to try the script")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--problems", type=int, default=10, help="of pocket, for acceptance")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        text = section(make(Path(directory), given.scale), given.tokens, given.problems)
    print(text)
    if given.out is not None:
        with given.out.open("a", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
