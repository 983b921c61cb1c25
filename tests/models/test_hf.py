"""Architectures without a lean forward run through transformers on the same plan and store."""

from __future__ import annotations

from typing import Any

import pytest
from test_forward import check_family

from outthink.core.batch import Batch, Segment
from outthink.models import ModelError, load


@pytest.mark.parametrize("seed", range(3))
def test_gpt2_matches_transformers(save_tiny: Any, seed: int) -> None:
    check_family(save_tiny("gpt2"), seed)


@pytest.mark.parametrize(
    "family, changes",
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        (
            "gpt_neox",
            {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 3},
        ),
        ("phi3", {"pad_token_id": 0}),
        ("olmo2", {}),
        ("llama", {"hidden_act": "gelu"}),
    ],
)
def test_other_architectures_match_transformers(save_tiny: Any, family: str, changes: dict[str, Any]) -> None:
    path = save_tiny(family, **changes)
    assert not load(path).config.lean
    check_family(path, seed=11)


@pytest.mark.parametrize("family", ["gemma2", "bloom", "mamba"])
def test_attention_of_another_kind_is_refused(save_tiny: Any, family: str) -> None:
    with pytest.raises(ModelError):
        load(save_tiny(family))


def test_learned_positions_end(save_tiny: Any) -> None:
    model = load(save_tiny("gpt2")).model
    batch = Batch([1], [256], [0], [0], [1], [0], [Segment(-1, 0, 1)])
    with pytest.raises(ModelError, match="position 256"):
        model.forward(batch, model.new_store(1))
