"""Hidden states are those of transformers, for every family and kernel; their passes write the cache."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import transformers
from forests import Forest

from outthink.models import load


def reference(path: Path, forest: Forest) -> dict[tuple[int, int], torch.Tensor]:
    """The last norm's output at every token of every branch, each path computed alone."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    found = {}
    with torch.inference_mode():
        for index, branch in enumerate(forest.branches):
            given = torch.tensor([forest.path(index)])
            rows = model(given, use_cache=False, output_hidden_states=True).hidden_states[-1][0]
            begin = len(rows) - len(branch.tokens)
            found.update({(index, at): rows[begin + at] for at in range(len(branch.tokens))})
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt2"])
def test_random_forests_match_transformers(kernels: str, save_tiny: Any, family: str, dtype: str) -> None:
    """Passes for states and for logits by turns: what the ones cached, the others read."""
    if family == "gpt2" and kernels != "torch":
        pytest.skip("transformers computes gpt2 with torch alone")
    path, random = save_tiny(family, dtype=dtype), Random(3)
    forest = Forest.random(random, vocab=97, branches=9)
    expected, model = reference(path, forest), load(path).model
    store, seen = model.new_store(forest.slots), 0
    for number, (batch, rows) in enumerate(forest.passes(random)):
        batch.wanted = sorted(random.sample(range(len(rows)), random.randint(0, len(rows))))
        if number % 3 == 0:
            model.forward(batch, store)
            continue
        found = model.states(batch, store)
        assert found.shape == (len(batch.wanted), model.config.hidden)
        for i, row in enumerate(batch.wanted):
            torch.testing.assert_close(found[i], expected[rows[row]], atol=1e-4, rtol=1e-4)
            seen += 1
    assert seen > 5
