"""Write a checkpoint as a Hugging Face model folder in bfloat16.

python recipes/export.py --checkpoint DIR/last.pt --tokenizer DIR --out src/outthink/weights/pocket
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from llama import SHAPES, Llama
from safetensors.torch import load_file, save_file

GENERATION = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "do_sample": True, "temperature": 0.8}


def export(checkpoint: Path, tokenizer: Path, out: Path, raw: bool) -> dict[str, object]:
    """Averaged (or raw) weights, configs and tokenizer into `out`; the checkpoint's state comes back."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = saved["model" if raw else "smooth"]
    out.mkdir(parents=True, exist_ok=True)
    rounded = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in weights.items()}
    save_file(rounded, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    (out / "config.json").write_text(json.dumps(SHAPES[saved["name"]].config(), indent=2) + "\n")
    (out / "generation_config.json").write_text(json.dumps(GENERATION, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (tokenizer / name).resolve() != (out / name).resolve():
            shutil.copy(tokenizer / name, out / name)
    return dict(saved["state"])


def load(folder: Path) -> Llama:
    """The exported model, its bfloat16 weights read back as float32."""
    config = json.loads((folder / "config.json").read_text())
    shape = next(shape for shape in SHAPES.values() if shape.hidden == config["hidden_size"])
    model = Llama(shape)
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return model.eval()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--raw", action="store_true", help="the last weights instead of their running average"
    )
    opts = parser.parse_args()
    print(export(opts.checkpoint, opts.tokenizer, opts.out, opts.raw))


if __name__ == "__main__":
    main()
