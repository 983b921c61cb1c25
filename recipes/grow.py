"""Grow a checkpoint of pocket-mini into a first checkpoint of pocket that computes the same function.

    python recipes/grow.py --checkpoint MINI/last.pt --out RUN

Every width is doubled: each unit gets a twin, whoever reads the two weighs them W/2 + N and W/2 - N with a
random N, so that the sum is W as before but the twins receive different gradients (after Net2Net, Chen et al.
2015). Heads are doubled the same way. New layers write nothing at first (their output matrices are zero).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch
from llama import SHAPES, Llama
from torch import Tensor
from train import State

Weights = dict[str, Tensor]
SOURCES = (0, 1, None, 2, 3, None)  # which layer of pocket-mini each layer of pocket starts from


def read_twins(matrix: Tensor, noise: float) -> Tensor:
    """Columns for doubled inputs: [W/2 + N, W/2 - N], N as large as `noise` times W's spread."""
    spread = noise * float(matrix.std()) * torch.randn_like(matrix)
    return torch.cat((matrix / 2 + spread, matrix / 2 - spread), dim=1)


def twin_both(matrix: Tensor, noise: float) -> Tensor:
    """Doubled inputs and outputs; the two copies of the outputs split their inputs differently."""
    return torch.cat((read_twins(matrix, noise), read_twins(matrix, noise)))


def grow_layer(small: Weights, source: int, noise: float) -> Weights:
    """The weights of a layer twice as wide."""
    head = f"model.layers.{source}."
    kept = {name.removeprefix(head): tensor for name, tensor in small.items() if name.startswith(head)}
    return {n: t.repeat(2) if t.ndim == 1 else twin_both(t, noise) for n, t in kept.items()}


def grow(small: Weights, noise: float = 0.5) -> Weights:
    """All weights. The final norm is halved, for tied embeddings read each doubled state twice."""
    big = Llama(SHAPES["pocket"]).state_dict()
    big["model.embed_tokens.weight"] = small["model.embed_tokens.weight"].repeat(1, 2)
    big["model.norm.weight"] = small["model.norm.weight"].repeat(2) / 2
    for layer, source in enumerate(SOURCES):
        head = f"model.layers.{layer}."
        if source is None:
            big[f"{head}self_attn.o_proj.weight"].zero_()
            big[f"{head}mlp.down_proj.weight"].zero_()
        else:
            big |= {head + name: tensor for name, tensor in grow_layer(small, source, noise).items()}
    return big


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    opts = parser.parse_args()
    torch.manual_seed(1)
    saved = torch.load(opts.checkpoint, map_location="cpu", weights_only=True)
    weights = grow(saved["smooth"])
    opts.out.mkdir(parents=True, exist_ok=True)
    record = {"model": weights, "smooth": {k: v.clone() for k, v in weights.items()}, "name": "pocket"}
    before = {"steps": saved["state"]["step"], "tokens": saved["state"]["tokens"]}
    torch.save({**record, "state": asdict(State()), "grown_from": before}, opts.out / "first.pt")


if __name__ == "__main__":
    main()
