"""A padded model is larger, and says what the model says that it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import outthink as ot
from benchmarks.padded import pad
from outthink.backends.load import load_backend, locate
from outthink.backends.local import LocalBackend
from outthink.core.batch import Batch, Segment
from outthink.core.errors import BadInput
from outthink.engine.engine import Engine

QUESTIONS = ("Mia has 14 coins. She buys 3 bags of 6. How many coins?", "List: b a c. Do in order: 1) sort.")
LAYERS, WIDTH = 7, 1000


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pocket-mini with more layers, and more units in all of them."""
    directory = tmp_path_factory.mktemp("padded")
    pad(locate("pocket-mini"), directory, LAYERS, WIDTH)
    return directory


def logits(backend: LocalBackend) -> torch.Tensor:
    """[tokens, vocab] of a question."""
    tokens = backend.tokenizer.encode(QUESTIONS[0])
    n = len(tokens)
    batch = Batch(tokens, list(range(n)), list(range(n)), [0] * n, list(range(1, n + 1)), list(range(n)))
    batch.segments = [Segment(-1, 0, n)]
    with torch.inference_mode():
        return backend.model.forward(batch, backend.model.new_store(n)).float()


def difference(directory: Path, kernels: str) -> float:
    """The largest between logits of the padded model and of its source."""
    own, other = (
        logits(load_backend(str(path), threads=1, kernels=kernels))
        for path in (locate("pocket-mini"), directory)
    )
    return (own - other).abs().max().item()


@pytest.mark.parametrize("kernels", ["torch", "auto"])
def test_logits_stay(padded: Path, kernels: str) -> None:
    assert difference(padded, kernels) < 1e-4


def test_a_block_that_is_no_identity_is_seen(padded: Path, tmp_path: Path) -> None:
    pad(padded, tmp_path, LAYERS, WIDTH)
    tensors = load_file(tmp_path / "model.safetensors")
    last = f"model.layers.{LAYERS - 1}.mlp.down_proj.weight"
    assert not tensors[last].any()
    tensors[last][0, 0] = 10.0
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    assert difference(tmp_path, "auto") > 1e-3


@pytest.mark.parametrize("strategy", [ot.strategy.Greedy(), ot.strategy.Once()])
def test_texts_stay(padded: Path, strategy: object) -> None:
    """Under one name, since noise is keyed by it."""
    small, large = (load_backend(str(path), threads=1) for path in (locate("pocket-mini"), padded))
    large.about = small.about
    sampling = ot.Sampling(temperature=1.0, max_tokens=40)
    for question in QUESTIONS:
        one, other = (
            ot.run(strategy, question, Engine(backend, slots=2048), seed=3, sampling=sampling).text
            for backend in (small, large)
        )
        assert one == other
        assert one


def test_what_is_added_has_numbers_and_counts(padded: Path, tmp_path: Path) -> None:
    """What costs no multiplication must not be timed as if it did: only what a block adds is zero."""
    tensors = load_file(padded / "model.safetensors")
    last = f"model.layers.{LAYERS - 1}."
    zero = {name[len(last) :] for name, t in tensors.items() if name.startswith(last) and not t.any()}
    assert zero == {"self_attn.o_proj.weight", "mlp.down_proj.weight"}
    gate = tensors["model.layers.0.mlp.gate_proj.weight"]
    assert gate.shape[0] == WIDTH
    assert gate.any(1).all()
    assert pad(padded, tmp_path, LAYERS + 1, WIDTH) == sum(t.numel() for t in tensors.values()) + sum(
        t.numel() for name, t in tensors.items() if name.startswith(last)
    )


@pytest.mark.parametrize(("layers", "width"), [(1, WIDTH), (LAYERS, 1)])
def test_padding_does_not_shrink(tmp_path: Path, layers: int, width: int) -> None:
    with pytest.raises(BadInput, match="give at least those"):
        pad(locate("pocket-mini"), tmp_path, layers, width)
