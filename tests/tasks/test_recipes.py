"""The training recipe: batches, model, sampler and loop, on a tiny model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
RECIPES = Path(__file__).parents[2] / "recipes"
if not RECIPES.is_dir():
    pytest.skip("recipes are not part of an installed package", allow_module_level=True)
sys.path.insert(0, str(RECIPES))

import data  # noqa: E402
import evaluate  # noqa: E402
import export  # noqa: E402
import grow  # noqa: E402
import llama  # noqa: E402
import make_tokenizer  # noqa: E402
import sampler  # noqa: E402
import train  # noqa: E402

TINY = llama.Shape(hidden=64, layers=2, heads=4, kv_heads=2, intermediate=96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a freshly trained tokenizer."""
    path = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer.save(make_tokenizer.build(300), path)
    return path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model shape small enough for a test."""
    monkeypatch.setitem(llama.SHAPES, "tiny", TINY)


def run_options(folder: Path, out: Path, minutes: float) -> argparse.Namespace:
    """Options of a short run."""
    return argparse.Namespace(
        model="tiny", tokenizer=folder, out=out, minutes=minutes, procs=1, device="cpu", tokens=512,
        muon=0.02, adam=0.003, decay=0.4, every=1.0, port="29588",
        warmup=100, tau=(1.5, 6.5), shares="1,1,1,1", first=None,
    )  # fmt: skip


def test_batches_score_solutions_only(folder: Path) -> None:
    stream = data.Stream(data.tokenizer_in(folder), 0, 1, 512)
    inputs, labels = next(stream.batches())
    assert inputs.shape == labels.shape and inputs.shape[1] % data.STRIDE == 0 and inputs.numel() <= 512
    row, scored = inputs[0].tolist(), labels[0].tolist()
    first = next(i for i, label in enumerate(scored) if label != data.IGNORE)
    assert row[0] == data.BOS and data.EOS in scored
    assert stream.tokenizer.decode(row[: first + 1]).startswith("Q: ")
    assert stream.tokenizer.decode(row[: first + 1]).endswith("\n")
    assert row[first + 1] == scored[first]


def test_workers_see_different_problems_and_levels_shift(folder: Path) -> None:
    one, two = (data.Stream(data.tokenizer_in(folder), rank, 2, 512) for rank in range(2))
    assert not {tuple(one.document()[0]) for _ in range(50)} & {tuple(two.document()[0]) for _ in range(50)}
    early = one.shares()
    one.tau = 6.5
    late = one.shares()
    assert early[-1] / early[0] < late[-1] / late[0]


def test_same_logits_as_transformers(folder: Path, tiny: None, tmp_path: Path) -> None:
    model = llama.Llama(TINY)
    record = {"model": model.state_dict(), "smooth": model.state_dict(), "name": "tiny", "state": {"step": 1}}
    torch.save(record, tmp_path / "last.pt")
    export.export(tmp_path / "last.pt", folder, tmp_path / "out", raw=False)
    ours = export.load(tmp_path / "out")
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    tokens = torch.randint(3, 1024, (2, 17))
    with torch.no_grad():
        assert torch.allclose(ours.logits(ours.hidden(tokens)), theirs(tokens).logits, atol=1e-4)


def test_sampler_equals_the_plain_forward(folder: Path) -> None:
    torch.manual_seed(0)
    model = llama.Llama(TINY)
    tokenizer = data.tokenizer_in(folder)
    prompts = ["Make 5 from 2 3.", "List: a b c. Do in order: 1) reverse. Give the list after each."]
    texts = sampler.Sampler(model, tokenizer).texts(prompts, 0.0, limit=12)
    for prompt, text in zip(prompts, texts, strict=True):
        ids = [data.BOS, *tokenizer.encode(data.question(prompt), add_special_tokens=False).ids]
        new: list[int] = []
        while len(new) < 12:
            with torch.no_grad():
                logits = model.logits(model.hidden(torch.tensor([ids + new]))[0, -1])
            new.append(int(logits.argmax()))
            if new[-1] == data.EOS:
                break
        assert tokenizer.decode([token for token in new if token != data.EOS]) == text


def test_training_lowers_the_loss_and_resumes(folder: Path, tiny: None, tmp_path: Path) -> None:
    for minutes in (0.05, 0.1, 0.2, 0.4, 0.8):  # three seconds do, where nobody else computes
        train.Trainer(0, run_options(folder, tmp_path, minutes)).run()
        saved = torch.load(tmp_path / "last.pt", weights_only=True)
        if saved["state"]["step"] > 5:
            break
    assert saved["state"]["step"] > 5 and saved["state"]["loss"] < 6.9
    again = train.Trainer(0, run_options(folder, tmp_path, 1.4 * minutes))
    again.run()
    assert again.state.step > saved["state"]["step"] and again.state.seconds > saved["state"]["seconds"]


def test_a_grown_model_computes_the_same() -> None:
    torch.manual_seed(0)
    small = llama.Llama(llama.SHAPES["pocket-mini"])
    big = llama.Llama(llama.SHAPES["pocket"])
    big.load_state_dict(grow.grow(small.state_dict()))
    tokens = torch.randint(3, 1024, (2, 30))
    with torch.no_grad():
        one, two = (model.logits(model.hidden(tokens)) for model in (small, big))
    assert torch.allclose(one, two, atol=1e-4)


def test_schedule() -> None:
    assert train.schedule(0.0, 0, 0.4, 100) == 0.01
    assert train.schedule(0.3, 500, 0.4, 100) == 1.0
    assert train.schedule(0.8, 500, 0.4, 100) == pytest.approx(0.5)
    assert train.schedule(1.0, 500, 0.4, 100) == 0.0


def test_wilson() -> None:
    low, high = evaluate.wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert evaluate.wilson(0, 20)[0] == 0.0 and evaluate.wilson(20, 20)[1] == pytest.approx(1.0)


def test_final() -> None:
    assert evaluate.final("1 + 1 = 2\nA: 2\n") == "2"
    assert evaluate.final("1 + 1 = 2\n") is None
