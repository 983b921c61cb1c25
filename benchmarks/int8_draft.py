"""Drafts in 8 bits where weights do not fit the cache: python -m benchmarks.int8_draft

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
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import outthink as ot
from benchmarks.report import Section
from outthink.backends.load import embedded
from outthink.backends.local import _apart, _fastest
from outthink.bench.tasks.steps import Steps
from outthink.core.jobs import Variant
from outthink.core.types import Answer, Sampling
from outthink.engine.engine import Engine

SHAPE = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2048, "vocab_size": 16384}
ROWS = (1, 2, 3, 5, 9)
LENGTHS = (2, 4)  # of drafts
ROUNDS = 3
TITLE = "Drafts in 8 bits where weights do not fit the cache"
COLUMNS = (
    "dtype", "temperature", "n", "plain, tokens/s", "drafted, tokens/s", "speed-up",
    "accepted", "accepted on pocket", "speed-up at pocket's",
)  # fmt: skip
FORMATS = (".1f", ".1f", ".2f", ".3f", ".3f", ".2f")
INTRODUCTION = """One stream of a random Llama with a peaked head, and `int8(n)`: n tokens drafted by the
same model with its matrices in 8 bits. *Speed-up* is measured, at the acceptance of that model, which writes
a fixed cycle and so is far easier to guess than any text. *At pocket's* is the product: the times of the
passes above with the acceptance of pocket's own 8-bit copy on `steps`,
v(1) (1 + a + ... + a^n) / (v(1 + n) + n v8(1)). Texts were the same in every run."""


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


def write(lm: Engine, problem: Any, sampling: Sampling, drafter: str, seed: int = 1) -> tuple[float, Answer]:
    """Seconds and the answer of one stream."""
    began = time.perf_counter()
    answer = ot.run(ot.strategy.Sample(), problem, lm, seed=seed, sampling=sampling, speculate=drafter)
    return time.perf_counter() - began, answer


def contest(lm: Engine, tokens: int, temperature: float, n: int) -> tuple[float, float, float]:
    """(tokens per second plain, drafted, acceptance) of the best of some rounds, turn about."""
    sampling = Sampling(temperature=temperature, max_tokens=tokens, ignore_eos=True)
    drafter, plain, drafted = f"int8(n={n})", [], []
    for _ in range(ROUNDS):
        seconds, one = write(lm, "abc", sampling, "none")
        plain.append(seconds)
        seconds, other = write(lm, "abc", sampling, drafter)
        drafted.append(seconds)
        receipt = other.receipt
        if one.text != other.text or receipt is None or receipt.degradations:
            raise SystemExit(f"{drafter}: another text than plain, or the receipt has a complaint")
        tally = receipt.speculation["int8"]
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
def times(lm: Engine) -> tuple[dict[int, float], dict[int, float], float, float]:
    """Seconds of a pass by rows, of the model and of its copy, and the bytes of weights that each reads."""
    backend: Any = lm.main.backend
    copy, store = backend.variant(Variant(is_int8=True)), backend.model.new_store(ROWS[-1])
    runs = {rows: partial(backend.model.forward, _apart(rows), store) for rows in ROWS}
    own = _fastest(runs, time.perf_counter)
    its = _fastest({rows: partial(copy.forward, _apart(rows), store) for rows in ROWS}, time.perf_counter)
    parts = backend.model.parts
    held = sum(matrix.bytes for layer in parts.layers for matrix in layer.matrices) + parts.head.bytes
    return own, its, held, copy.weight_bytes


def predicted(own: dict[int, float], its: dict[int, float], n: int, rate: float) -> float:
    """The speed-up of drafts of n tokens that are accepted at a rate each."""
    return own[1] * sum(rate**i for i in range(n + 1)) / (own[1 + n] + n * its[1])


def measure(scale: float = 1.0, tokens: int = 64, problems: int = 10) -> list[Section]:
    """What passes take, and what drafts win."""
    with tempfile.TemporaryDirectory() as folder:
        directory = str(make(Path(folder), scale))
        passes = Section(f"{TITLE}: passes", ["milliseconds of a pass, rows:", "weights", *map(str, ROWS)])
        found = Section(f"{TITLE}: drafts", list(COLUMNS), before=[INTRODUCTION])
        for dtype in ("float32", "bfloat16"):
            _measure(ot.load(directory, dtype=dtype), dtype, tokens, problems, passes, found)
    return [passes, found]


def _measure(lm: Engine, dtype: str, tokens: int, problems: int, passes: Section, found: Section) -> None:
    """Add the rows of one dtype."""
    own, its, held, copied = times(lm)
    for name, table, size in ((dtype, own, held), (f"its copy in 8 bits ({dtype} cache)", its, copied)):
        passes.rows.append([name, f"{size / 1e6:.0f} MB", *(f"{1000 * table[count]:.2f}" for count in ROWS)])
    backend: Any = lm.main.backend
    passes.after.append(f"- {dtype}: {backend.model.config.params / 1e6:.0f}M parameters, {backend.machine}.")
    for temperature in (0.0, 0.8):
        rate = acceptance(dtype, temperature, problems)
        for n in LENGTHS:
            plain, drafted, seen = contest(lm, tokens, temperature, n)
            cells = (plain, drafted, drafted / plain, seen, rate, predicted(own, its, n, rate))
            found.rows.append([dtype, str(temperature), str(n), *map("{:{}}".format, cells, FORMATS)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the model's depth, to try the script")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--problems", type=int, default=10, help="of pocket, for acceptance")
    given = parser.parse_args()
    for one in measure(given.scale, given.tokens, given.problems):
        print(one.text())


if __name__ == "__main__":
    main()
