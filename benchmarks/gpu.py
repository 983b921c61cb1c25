"""On a CUDA machine: random Llamas of 1B and 8B parameters in bfloat16 beside transformers `generate`.

python -m benchmarks.gpu [--sizes 1B 8B] [--branches 1 64] [--rounds 3] [--out FILE] [--dry-run]

Tokens per second, and the share of the memory bandwidth (measured by a copy on the device) that the weights
and cache moved by passes amount to. Rivals take turns on equal weights: ours are laid out from theirs, so
both lie in memory, twice 16 GB for 8B. Weights are drawn on the device, in bfloat16. The table takes the
place of the last one in RESULTS.md and leaves the rest as it is. --dry-run: a tiny model on whatever there
is, printed and not written; does it run?
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.contest import Ratio, Rival, Work, contest
from benchmarks.ours import Ours
from benchmarks.prompts import Prompt
from benchmarks.report import Section, put
from benchmarks.speed import our_logits
from benchmarks.theirs import Transformers
from outthink.backends.load import prices
from outthink.backends.local import LocalBackend
from outthink.core.about import About
from outthink.engine.engine import Engine
from outthink.models.assemble import Assembly
from outthink.models.base import ModelConfig
from outthink.models.config import Shape, parse_shape
from outthink.models.llama import LeanModel

SIZES: dict[str, dict[str, Any]] = {
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
}
HEADS = {"1B": (32, 8, 64), "8B": (32, 8, 128), "tiny": (4, 2, 16)}  # heads, kv heads, head dimension
VOCAB = {"1B": 128256, "8B": 128256, "tiny": 512}
SLOTS = 2**15
PROMPT = 200  # tokens
CLOSE = 0.05  # how far log-probabilities may be apart in the mean: both round to bfloat16
TITLE = "On a GPU"
HEADER = ["model", "branches", "outthink", "transformers", "ratio", "of memory bandwidth"]


class Letters:
    """A tokenizer for models that know no language: a character is a token."""

    eos: tuple[int, ...] = ()

    def encode(self, text: str, special: bool = True) -> list[int]:
        return [ord(c) % 256 for c in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(chr(97 + t % 26) for t in tokens)

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        return self.encode(messages[-1]["content"])

    def detokenizer(self) -> Any:
        raise ValueError("a model of random weights writes no text to stop at")


class Tensors:
    """The weights of a network in memory, read as from a checkpoint."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.tensors = network.state_dict()

    def get(self, name: str, *shape: int) -> torch.Tensor:
        """The tensor of that name, which must have that shape."""
        assert tuple(self.tensors[name].shape) == shape, name
        return self.tensors[name]


def network_of(size: str, device: str) -> Any:
    """A random Llama of transformers, made on the device in bfloat16."""
    heads, kv_heads, head_dim = HEADS[size]
    config = transformers.LlamaConfig(
        vocab_size=VOCAB[size],
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=4096,
        rope_theta=500000.0,
        tie_word_embeddings=size == "1B",
        **SIZES[size],
    )
    torch.manual_seed(0)
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def engine_of(network: Any, size: str, device: str) -> Engine:
    """Our engine on the same weights."""
    shape: Shape = parse_shape(network.config.to_dict())
    dtype, tensors = torch.bfloat16, Tensors(network)
    with torch.inference_mode():
        parts = Assembly(shape, tensors, dtype, torch.device(device), int8=False).parts()
    config = ModelConfig(
        shape.family,
        shape.vocab,
        shape.layers,
        shape.hidden,
        shape.heads,
        shape.kv_heads,
        shape.head_dim,
        shape.intermediate,
        shape.max_positions,
        dtype="bfloat16",
        device=device,
        params=sum(p.numel() for p in network.parameters()),
        tied=shape.tied,
    )
    about = About(f"llama-{size}", config.vocab, config.max_positions, frozenset(), prices(config))
    backend = LocalBackend(LeanModel(shape, config, parts), Letters(), about)
    backend.dtype, backend.kind = config.dtype, f"{config.dtype} {device}, {config.kernels}"
    return Engine(backend, slots=SLOTS)


def bandwidth(device: str, size: int = 2**30) -> float:
    """Bytes per second of a copy, read and written."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    best = float("inf")
    for _ in range(5):
        _wait(device)
        began = time.perf_counter()
        target.copy_(source)
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size / best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def apart(ours: Engine, theirs: Transformers) -> float:
    """How far the log-probabilities of a prompt's tokens are apart, in the mean."""
    tokens = Letters().encode(_text(0))
    found = our_logits(ours, tokens).log_softmax(-1) - theirs.logits(tokens).log_softmax(-1)
    return found.abs().mean().item()


def _text(number: int) -> str:
    """A prompt that begins like no other."""
    head = f"{number} "
    return head + "".join(chr(97 + (i * (number + 3)) % 26) for i in range(PROMPT - len(head)))


def measure(
    size: str, branches: Sequence[int], device: str, limit: float, new: int, rounds: int
) -> tuple[list[list[str]], str]:
    """Rows of the table for one model, and a remark. AssertionError if logits are far apart."""
    network = network_of(size, device)
    engine, theirs = engine_of(network, size, device), Transformers(network)
    differ, rows = apart(engine, theirs), []
    assert differ <= CLOSE, f"{size}: log-probabilities are {differ:.3g} apart, at most {CLOSE} is allowed"
    for n in branches:
        ours = Ours(engine)
        rivals: list[Rival[Work]] = [ours, theirs]

        def work(turn: int, n: int = n) -> Work:
            text = _text(1 + turn + 100 * n)
            return Work(Prompt(text, Letters().encode(text)), n, new, greedy=n == 1, seed=turn)

        scores = contest(rivals, rounds, work)
        mine, other = scores[ours.name], scores[theirs.name]
        share = sum(moved(ours)[1:]) / sum(mine.seconds) / limit  # the first round is not timed
        ratio = str(Ratio.of(mine, other))
        rows.append([size, str(n), f"{mine.rate:.0f}", f"{other.rate:.0f}", ratio, f"{share:.1%}"])
    memory = f", at most {torch.cuda.max_memory_allocated() / 2**30:.0f} GiB" if device == "cuda" else ""
    return rows, f"- {size}: log-probabilities {differ:.1e} apart in the mean{memory}."


def moved(ours: Ours) -> list[float]:
    """Bytes of weights and cache that the passes of each answer moved."""
    return [answer.receipt.actual.bytes for answer in ours.answers if answer.receipt is not None]


def section(sizes: Sequence[str], branches: Sequence[int], device: str, new: int, rounds: int) -> Section:
    """All models, one after another."""
    limit = bandwidth(device, 2**30 if device == "cuda" else 2**26)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU, a dry run: these numbers mean nothing"
    found = Section(TITLE, HEADER)
    found.before.append(
        f"{name}; torch {torch.__version__}, transformers {transformers.__version__}; "
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC.\n"
        f"Random Llamas in bfloat16, tokens per second; a prompt of {PROMPT}, {new} new tokens a branch,\n"
        f"greedy for one branch; rounds after one that is not counted: {rounds}. A copy on the device moves\n"
        f"{limit / 1e9:.0f} GB/s, read and written: what the last column is a share of."
    )
    for size in sizes:
        rows, said = measure(size, branches, device, limit, new, rounds)
        found.rows += rows
        found.after.append(said)
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["1B", "8B"], choices=list(SIZES))
    parser.add_argument("--branches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "RESULTS.md")
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if given.dry_run:
        print(section(["tiny"], given.branches, device, 8, 1).text())
        return
    if device == "cpu":
        print("No CUDA device here: the GPU benchmark is skipped. --dry-run tries it on a tiny model.")
        return
    found = section(given.sizes, given.branches, device, given.new, given.rounds)
    put(given.out, found)
    print(found.text())
    print(f"written to {given.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
