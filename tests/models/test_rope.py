"""Inverse frequencies equal those of transformers, for heads of the usual size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from outthink.models.errors import ModelError
from outthink.models.rope import parse_rope

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
KINDS: list[dict[str, Any]] = [
    {"rope_type": "linear", "factor": 3.0},
    {"rope_type": "llama3", "factor": 8.0, **LLAMA3},
    {"rope_type": "llama3", "factor": 32.0, **LLAMA3},
    YARN,
    {**YARN, "beta_fast": 16, "beta_slow": 2},
    {**YARN, "attention_factor": 1.5},
    {**YARN, "mscale": 0.8, "mscale_all_dim": 0.5},
    {**YARN, "truncate": False},
    {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096},
]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-5)])
@pytest.mark.parametrize("options", KINDS, ids=lambda options: " ".join(map(str, options.values())))
def test_frequencies_equal_transformers(
    options: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    config = transformers.LlamaConfig(
        hidden_size=256,
        num_attention_heads=2,
        max_position_embeddings=4096,
        rope_parameters={"rope_theta": 500000.0, **options},
    )
    expected, factor = ROPE_INIT_FUNCTIONS[options["rope_type"]](config, "cpu")
    frequencies, ours = parse_rope(config.to_dict(), 128, 4096).frequencies(dtype)
    torch.testing.assert_close(frequencies.float(), expected, rtol=tolerance, atol=0)
    assert ours == pytest.approx(factor, rel=1e-9)


def test_old_and_new_spelling_are_one() -> None:
    new = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}}
    old = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert parse_rope(new, 64, 100) == parse_rope(old, 64, 100)


def test_table_turns_by_position_times_frequency() -> None:
    rope = parse_rope({"rope_theta": 100.0}, 4, 50)
    table = rope.table(50, torch.float64)
    torch.testing.assert_close(
        table.angle()[:4], torch.outer(torch.arange(4.0), torch.tensor([1.0, 0.1])).double()
    )


def test_partial_rotation_is_refused() -> None:
    with pytest.raises(ModelError, match="partial"):
        parse_rope({"partial_rotary_factor": 0.5}, 64, 100)
