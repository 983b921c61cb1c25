"""A drafting model with another tokenizer: the text stays the target's, or the model is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import outthink as ot
from outthink.backends.load import embedded, load_backend
from outthink.bench.tasks.steps import Steps
from outthink.core.types import Sampling
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.speculate import Copy, DraftModel, Staged
from outthink.strategy import Once, Vote

VOCAB = 1024


@pytest.fixture(scope="module")
def permuted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pocket-mini with its token numbers shuffled: the same model to whoever reads its text."""
    place = tmp_path_factory.mktemp("draft") / "permuted"
    shutil.copytree(embedded()["pocket-mini"], place)
    new = torch.randperm(VOCAB, generator=torch.Generator().manual_seed(3)).tolist()
    weights = load_file(place / "model.safetensors")
    table = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = torch.empty_like(table)
    weights["model.embed_tokens.weight"][new] = table
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    told = json.loads((place / "tokenizer.json").read_text())
    told["model"]["vocab"] = {word: new[i] for word, i in told["model"]["vocab"].items()}
    for added in told["added_tokens"]:
        added["id"] = new[added["id"]]
    bos = told["post_processor"]["special_tokens"]["<bos>"]
    bos["ids"] = [new[i] for i in bos["ids"]]
    (place / "tokenizer.json").write_text(json.dumps(told))
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((place / name).read_text())
        changed = {key: new[i] for key, i in settings.items() if key.endswith("_token_id")}
        (place / name).write_text(json.dumps(settings | changed))
    return place


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with a tokenizer trained here, that merges what the target's keeps apart."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    texts = [Steps().problem("train", i).prompt for i in range(60)]
    trainer = trainers.BpeTrainer(
        vocab_size=500, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(texts, trainer)
    place = tmp_path_factory.mktemp("draft") / "trained"
    transformers.PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(place)
    config = transformers.LlamaConfig(
        vocab_size=500, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def plain() -> Engine:
    return ot.load("pocket-mini", dtype="float64")


def engine(draft: Path) -> Engine:
    one = ot.load("pocket-mini", dtype="float64")
    one.add(load_backend(str(draft)), slots=4096)
    return one


def ask(strategy: Any, sampling: Sampling, **given: Any) -> Request:
    return Request(strategy, Steps().problem("test", 1), sampling=sampling, seed=2, **given)


SAMPLINGS = [
    Sampling(temperature=0.0, max_tokens=40),
    Sampling(
        temperature=1.0, max_tokens=40, repetition_penalty=1.2, logit_bias=((1000, 1.0),), stop=("\n\n",)
    ),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "warped"])
@pytest.mark.parametrize("which", ["permuted", "trained"])
def test_the_text_is_that_of_plain_decoding(
    which: str, sampling: Sampling, plain: Engine, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue(which)
    one = engine(place)
    for drafter in (DraftModel(str(place), n=5), Staged(Copy(), str(place), n=5)):
        before = plain.run(ask(Vote(n=2), sampling))
        after = one.run(ask(Vote(n=2), sampling, speculate=drafter))
        assert after.receipt is not None and before.receipt is not None
        assert (after.text, after.receipt.logical) == (before.text, before.receipt.logical)
        assert after.receipt.degradations == before.receipt.degradations
        tally = after.receipt.speculation["draft_model" if isinstance(drafter, DraftModel) else "staged"]
        assert tally.checked > 0
        for home in one.places.values():
            home.tree.check()  # type: ignore[union-attr]
            assert all(not node.cursors for node in home.tree.nodes())  # type: ignore[union-attr]


def test_the_same_weights_behind_other_numbers_are_always_right(permuted: Path) -> None:
    answer = engine(permuted).run(ask(Once(), SAMPLINGS[0], speculate=DraftModel(str(permuted), n=5)))
    assert answer.receipt is not None
    tally = answer.receipt.speculation["draft_model"]
    assert tally.accepted == tally.checked > 20
    assert answer.receipt.drawn_per_row > 4


def test_at_a_temperature_the_likeliest_tokens_are_often_right(permuted: Path) -> None:
    sampling = Sampling(temperature=0.8, max_tokens=60)
    answer = engine(permuted).run(ask(Once(), sampling, speculate=DraftModel(str(permuted), n=5)))
    assert answer.receipt is not None
    tally = answer.receipt.speculation["draft_model"]
    assert tally.accepted > 0.5 * tally.checked > 10


def test_a_context_that_is_too_short_ends_drafting_not_the_text(trained: Path, plain: Engine) -> None:
    """The drafting model knows 256 positions; the target writes beyond them."""
    sampling = Sampling(temperature=0.0, max_tokens=300, ignore_eos=True)
    before = plain.run(ask(Once(), sampling))
    after = engine(trained).run(ask(Once(), sampling, speculate=DraftModel(str(trained), n=5)))
    assert after.text == before.text and after.receipt is not None
    assert 0 < after.receipt.speculation["draft_model"].steps < 250, "drafts before, none after"


def test_a_model_that_cannot_read_the_text_is_refused(tmp_path: Path, trained: Path, plain: Engine) -> None:
    """Its tokenizer knows capitals only: the draft is lost, the text is not, and the receipt says why."""
    import transformers
    from tokenizers import Tokenizer, models

    place = tmp_path / "deaf"
    shutil.copytree(trained, place)
    core = Tokenizer(models.WordLevel({"?": 0, "A": 1}, unk_token="?"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(place)
    before = plain.run(ask(Once(), SAMPLINGS[0]))
    answer = engine(place).run(ask(Once(), SAMPLINGS[0], speculate=DraftModel(str(place))))
    assert answer.text == before.text and answer.receipt is not None
    [note] = answer.receipt.degradations
    assert "another vocabulary" in note.why
