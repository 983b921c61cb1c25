"""Reward models from a directory: scores equal those of transformers, costs are those of the tokens read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.judging import judge
from outthink.core.problem import Problem
from outthink.core.types import Answer, Candidate, Score
from outthink.engine.engine import Engine
from outthink.engine.request import Request
from outthink.testing.scripted import scripted
from outthink.verify import RewardModel

PROBLEM = Problem("What is 1 + 1?")
TEXTS = ["1 + 1 = 2\nA: 2\n", "1 + 1 = 3\n\nso\nA: 3", "", "A: 4"]


@pytest.fixture(scope="module")
def places(tiny_reward_models: Path) -> dict[str, Path]:
    return {place.name: place for place in tiny_reward_models.iterdir()}


def scores(part: RewardModel, texts: list[str]) -> tuple[list[Score], Any]:
    found: list[Score] = []

    class Call:
        async def __call__(self, root: Branch, /) -> Answer:
            found.extend(await judge(part, [Candidate(t, PROBLEM, branch=root) for t in texts]))
            return Answer("")

    receipt = Engine(scripted(lambda q: {"": 1.0})).run(Request(Call(), "q")).receipt
    return found, receipt


def logits(place: Path, auto: Any, text: str) -> torch.Tensor:
    """What transformers says of the question and the text, byte by byte."""
    model = auto.from_pretrained(place).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    ids = tokenizer(PROBLEM.prompt + "\n" + text, return_tensors="pt").input_ids
    assert ids.shape[1] == len((PROBLEM.prompt + "\n" + text).encode())
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids).logits[0]
    return found


def test_an_outcome_model_gives_its_logit_or_its_labels_share(places: dict[str, Path]) -> None:
    auto = transformers.AutoModelForSequenceClassification
    for text in ("1 + 1 = 2\nA: 2\n", "A: 4"):
        [score], _ = scores(RewardModel(str(places["outcome"])), [text])
        assert score.value == float(logits(places["outcome"], auto, text)[0]) and score.steps == ()
        two = logits(places["outcome2"], auto, text).double().softmax(-1)
        for label in (-1, 0):
            [score], _ = scores(RewardModel(str(places["outcome2"]), label=label), [text])
            assert score.value == pytest.approx(float(two[label]), rel=1e-12)


@pytest.mark.parametrize("aggregate", ["last", "min", "mean", "product"])
def test_a_process_model_judges_every_step_at_its_end(places: dict[str, Path], aggregate: str) -> None:
    text = TEXTS[1]
    auto = transformers.AutoModelForTokenClassification
    rows = logits(places["process"], auto, text).double().softmax(-1)[:, -1]
    before = len(PROBLEM.prompt) + 1
    ends = [before + len("1 + 1 = 3\n") - 1, before + len("1 + 1 = 3\n\nso\n") - 1, before + len(text) - 1]
    truth = [float(rows[end]) for end in ends]
    [score], _ = scores(RewardModel(str(places["process"]), aggregate=aggregate), [text])
    assert score.steps == pytest.approx(truth, rel=1e-5) and len(set(truth)) == 3
    joined = {"last": truth[-1], "min": min(truth), "mean": sum(truth) / 3, "product": math.prod(truth)}
    assert score.value == pytest.approx(joined[aggregate], rel=1e-5)


@pytest.mark.parametrize("kind", ["outcome", "process"])
def test_a_batch_scores_as_its_members_alone_to_the_letter(places: dict[str, Path], kind: str) -> None:
    part = RewardModel(str(places[kind]))
    together, _ = scores(part, TEXTS)
    assert together == [scores(part, [t])[0][0] for t in TEXTS]
    assert len({s.value for s in together}) == len(TEXTS)


def test_its_cost_is_that_of_the_tokens_it_read(places: dict[str, Path]) -> None:
    _, receipt = scores(RewardModel(str(places["outcome"])), TEXTS)
    read = sum(len(PROBLEM.prompt) + 1 + max(1, len(t)) for t in TEXTS)
    params = sum(
        p.numel()
        for p in transformers.AutoModelForSequenceClassification.from_pretrained(
            places["outcome"]
        ).parameters()
    )
    cost = receipt.by_scope["run/verify"]
    assert (cost.read, cost.positions, cost.verified) == (read, read, len(TEXTS))
    assert cost.flops == 2.0 * params * read


def test_directories_that_hold_none_are_refused(places: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds LlamaForCausalLM"):
        scores(RewardModel(str(places["causal"])), ["x"])
    with pytest.raises(BadInput, match=r"has no config\.json"):
        scores(RewardModel(str(tmp_path)), ["x"])
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForTokenClassification"]}')
    with pytest.raises(BadInput, match="cannot be loaded"):
        scores(RewardModel(str(tmp_path)), ["x"])


def test_a_label_that_is_not_there_is_refused(places: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match="the model has 2 labels"):
        scores(RewardModel(str(places["process"]), label=2), ["x"])


@pytest.mark.parametrize("kind", ["outcome", "process"])
def test_a_text_beyond_the_models_context_is_no_word_and_said(places: dict[str, Path], kind: str) -> None:
    """Positions that a model was never trained on would give it a number all the same."""
    part = RewardModel(str(places[kind]))
    room = 2048 - len(PROBLEM.prompt + "\n")
    (fits, longer), receipt = scores(part, ["x" * room, "x" * (room + 1)])
    assert math.isfinite(fits.value) and longer == Score(-math.inf)
    assert [d.what for d in receipt.degradations] == ["reward_model"]
    assert receipt.logical.positions == 2048  # the other was not read


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_broken_configuration_is_refused_in_a_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadInput, match="is broken"):
        scores(RewardModel(str(tmp_path)), TEXTS)
