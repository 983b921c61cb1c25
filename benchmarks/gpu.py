"""On a CUDA machine: random Llamas of 1B and 8B parameters in bfloat16 beside transformers `generate`.

python -m benchmarks.gpu [--sizes 1B 8B] [--branches 1 64] [--dry-run]

Tokens per second, and the share of the memory bandwidth (measured by a copy) that the weights and cache moved
by passes amount to. Both run the same tensors. --dry-run: a tiny model on whatever there is; does it run?
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from benchmarks.contest import Ratio, Rival, Work, contest
from benchmarks.ours import Ours
from benchmarks.prompts import Prompt
from benchmarks.report import table
from benchmarks.theirs import Transformers
from outthink.backends.load import prices
from outthink.backends.local import LocalBackend
from outthink.core.about import About
from outthink.engine.engine import Engine
from outthink.models.base import ModelConfig
from outthink.models.config import Shape, parse_shape
from outthink.models.llama import LeanModel, read_parts

SIZES: dict[str, dict[str, Any]] = {
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
}
HEADS = {"1B": (32, 8, 64), "8B": (32, 8, 128), "tiny": (4, 2, 16)}  # heads, kv heads, head dimension
VOCAB = {"1B": 128256, "8B": 128256, "tiny": 512}


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
        assert tuple(self.tensors[name].shape) == shape, name
        return self.tensors[name]


def network_of(size: str, device: str) -> Any:
    """A random Llama of transformers, made on the device."""
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
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def engine_of(network: Any, size: str, device: str) -> Engine:
    """Our engine on the same tensors."""
    shape: Shape = parse_shape(network.config.to_dict())
    dtype = torch.bfloat16
    parts = read_parts(shape, Tensors(network), dtype, torch.device(device))
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
    return Engine(LocalBackend(LeanModel(shape, config, parts), Letters(), about), slots=2**15)


def bandwidth(device: str, size: int = 2**30) -> float:
    """Bytes per second of a copy, read and written."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(5):
        _wait(device)
        began = time.perf_counter()
        target.copy_(source)
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size / best


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def measure(size: str, branches: Sequence[int], device: str, limit: float, new: int) -> list[list[str]]:
    """Rows of the table for one model."""
    network = network_of(size, device)
    theirs = Transformers(network)
    rows = []
    for n in branches:
        ours = Ours(engine_of(network, size, device))
        rivals: list[Rival] = [ours, theirs]

        def work(turn: int, n: int = n) -> Work:
            text = chr(65 + turn) + "".join(chr(97 + (i * (turn + 3)) % 26) for i in range(199))
            return Work(Prompt(text, Letters().encode(text)), n, new, greedy=n == 1, seed=turn)

        scores = contest(rivals, 3, work)
        mine, other = scores[ours.name], scores[theirs.name]
        share = ours.bytes * 3 / 4 / sum(mine.seconds) / limit  # one round of four is not timed
        ratio = str(Ratio.of(mine, other))
        rows.append([size, str(n), f"{mine.rate:.0f}", f"{other.rate:.0f}", ratio, f"{share:.0%}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["1B", "8B"], choices=list(SIZES))
    parser.add_argument("--branches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if given.dry_run:
        given.sizes, given.new = ["tiny"], 8
    elif device == "cpu":
        print("No CUDA device here: the GPU benchmark is skipped. --dry-run tries it on a tiny model.")
        return
    limit = bandwidth(device, 2**26 if given.dry_run else 2**30)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU, a dry run: these numbers mean nothing"
    rivals = f"torch {torch.__version__}, transformers {transformers.__version__}, bfloat16"
    print(f"{name}; {rivals}; prompt of 200, {given.new} new tokens a branch;")
    print(f"a copy moves {limit / 1e9:.0f} GB/s\n")
    header = ["model", "branches", "outthink", "transformers", "ratio", "of memory bandwidth"]
    rows = [row for size in given.sizes for row in measure(size, given.branches, device, limit, given.new)]
    print(table(header, rows))


if __name__ == "__main__":
    main()
