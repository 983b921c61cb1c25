"""A larger model that writes what a small one writes: layers added that change nothing, HF format.

python -m benchmarks.padded DIRECTORY [--model pocket] [--layers 24] [--width 4096]

A Llama block adds attention and MLP to its input, so a block whose o_proj and down_proj are zero is the
identity, and so is an MLP unit whose column of down_proj is zero. Blocks of both kinds are filled with the
source's own numbers, so that they cost what any block of their shape costs: a pass is timed as a model of
that size, its texts and its acceptance rates are the source's.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from outthink.backends.load import locate
from outthink.core.errors import BadInput

LAYERS, WIDTH = 24, 4096
LARGE = (48, 8192)  # layers and width of 312M parameters
UNITS = ("gate_proj", "up_proj")
OUTPUTS = ("self_attn.o_proj", "mlp.down_proj")  # what a block adds is written by these


def pad(source: Path, target: Path, layers: int = LAYERS, width: int = WIDTH) -> int:
    """Write the padded model to a directory that may exist; how many parameters it has.

    `layers` blocks with `width` MLP units each; the source's own come first, and stay as they are. Raises
    BadInput where the source is larger than that, or no Llama in one file.
    """
    config = json.loads((source / "config.json").read_text())
    own, inner = config["num_hidden_layers"], config["intermediate_size"]
    if config["model_type"] != "llama" or not (source / "model.safetensors").exists():
        raise BadInput(f"{source}: give a Llama whose weights are one model.safetensors")
    if layers < own or width < inner:
        raise BadInput(f"layers={layers}, width={width}: {source} has {own} and {inner}; give at least those")
    tensors = load_file(source / "model.safetensors")
    for layer in range(layers):
        block = _block(tensors, layer % own, width)
        if layer >= own:
            for name in OUTPUTS:
                block[f"{name}.weight"] = torch.zeros_like(block[f"{name}.weight"])
        tensors.update({f"model.layers.{layer}.{name}": tensor for name, tensor in block.items()})
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.json"):
        shutil.copy(path, target / path.name)
    config |= {"num_hidden_layers": layers, "intermediate_size": width}
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    return sum(tensor.numel() for tensor in tensors.values())


def _block(tensors: Mapping[str, torch.Tensor], layer: int, width: int) -> dict[str, torch.Tensor]:
    """A block of the source by its names within the block, its MLP widened by units that add nothing.

    A block that is widened already stays as it is.
    """
    prefix = f"model.layers.{layer}."
    block = {name[len(prefix) :]: t.clone() for name, t in tensors.items() if name.startswith(prefix)}
    more = width - block["mlp.gate_proj.weight"].shape[0]
    for name in UNITS:
        matrix = block[f"mlp.{name}.weight"]
        rows = torch.arange(more) % matrix.shape[0]
        block[f"mlp.{name}.weight"] = torch.cat([matrix, matrix[rows]])
    down = block["mlp.down_proj.weight"]
    block["mlp.down_proj.weight"] = torch.cat([down, down.new_zeros(down.shape[0], more)], 1).contiguous()
    return block


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--width", type=int, default=WIDTH)
    given = parser.parse_args()
    params = pad(locate(given.model), given.directory, given.layers, given.width)
    print(f"{given.directory}: {params:,} parameters, {given.layers} layers, {given.width} MLP units")


if __name__ == "__main__":
    main()
