"""A reward model from a directory in the Hugging Face format."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from outthink.core.errors import BadInput
from outthink.core.judging import NO_WORD
from outthink.core.receipt import Cost
from outthink.core.tasks import current, offload
from outthink.core.types import Candidate, Score
from outthink.spec import show
from outthink.text import split_steps

KINDS = {"ForSequenceClassification": "outcome", "ForTokenClassification": "process"}
AGGREGATES = ("last", "min", "mean", "product")


class Judged(NamedTuple):
    """What a model says of one text: a logit a label at each place asked for, and how many tokens it read.

    No logits where the text is longer than what the model was made for.
    """

    logits: list[list[float]]
    tokens: int


class Loaded(NamedTuple):
    """A model with its tokenizer; `kind` is "outcome" (sequence) or "process" (token classification)."""

    model: Any
    tokenizer: Any
    kind: str
    params: int
    context: int  # tokens


def kind_of(path: str) -> str:
    """Which kind of reward model a directory holds. BadInput, one line, if neither."""
    config = Path(path) / "config.json"
    if not config.is_file():
        raise BadInput(f"reward_model(): {path} has no config.json; give a Hugging Face-format directory")
    try:
        named = json.loads(config.read_text()).get("architectures") or ["nothing"]
    except (ValueError, AttributeError) as error:
        raise BadInput(f"reward_model(): {config} is broken ({error}); copy the model again") from None
    kinds = [kind for end, kind in KINDS.items() if str(named[0]).endswith(end)]
    if not kinds:
        raise BadInput(f"reward_model(): {path} holds {named[0]}; give a model {' or '.join(KINDS)}")
    return kinds[0]


@lru_cache(maxsize=2)
def load(path: str) -> Loaded:
    """Load a directory once. The import is here because most runs need no reward model."""
    import transformers

    kind = kind_of(path)
    auto: Any = (
        transformers.AutoModelForSequenceClassification
        if kind == "outcome"
        else transformers.AutoModelForTokenClassification
    )
    try:
        model = auto.from_pretrained(path).eval().requires_grad_(False)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        first = str(error).strip().partition("\n")[0]
        raise BadInput(f"reward_model(): {path} cannot be loaded: {first}") from error
    context = getattr(model.config, "max_position_embeddings", None) or sys.maxsize
    return Loaded(model, tokenizer, kind, sum(p.numel() for p in model.parameters()), context)


def read(path: str, texts: Sequence[tuple[str, Sequence[str]]]) -> list[Judged]:
    """What the model says of each (question, steps): the logits after the whole text, or after each step.

    One text at a time, because a batch would change the last bits.
    """
    import transformers

    loaded, found = load(path), []
    for question, steps in texts:
        ids, ends = tokens(loaded.tokenizer, question, steps)
        if len(ids) > loaded.context:
            found.append(Judged([], 0))
            continue
        given = transformers.BatchEncoding({"input_ids": [ids]}, tensor_type="pt").to(loaded.model.device)
        rows = loaded.model(**given).logits[0].tolist()
        found.append(Judged([rows] if loaded.kind == "outcome" else [rows[end] for end in ends], len(ids)))
    return found


def tokens(tokenizer: Any, question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
    """The tokens of a question and its steps, and the place of each step's last token.

    The question stands in the tokenizer's chat template, if it has one.
    """
    if tokenizer.chat_template:
        asked = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    else:
        ids = list(tokenizer(question + "\n").input_ids)
    ends = []
    for step in steps:
        new = tokenizer(step, add_special_tokens=False).input_ids
        ids += new
        ends.append(len(ids) - 1)
    return ids, ends


@dataclass(frozen=True)
class RewardModel:
    """Scores of a reward model: a sequence classifier judges the whole text, a token classifier each step.

    One label: its logit, or 1 / (1 + exp(-logit)) for steps. Several: softmax(logits)[label]. Steps
    are lines (or what `separator` parts), each judged at its last token, separator included; value = their
    last, min, mean or product, as `aggregate` says. A text longer than the context of the model gets no word
    (-inf), and the receipt says so. Lightman et al., "Let's Verify Step by Step", arXiv
    2305.20050; Cobbe et al., "Training Verifiers to Solve Math Word Problems", arXiv 2110.14168.
    """

    path: str
    label: int = -1
    separator: str = "\n"
    aggregate: str = "last"
    seconds: float | None = None
    records = ()

    __repr__ = show

    def __post_init__(self) -> None:
        if self.aggregate not in AGGREGATES:
            raise ValueError(f"aggregate={self.aggregate!r}: give one of {', '.join(AGGREGATES)}")
        if not self.separator:
            raise ValueError("separator='': give the text that ends a step")

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        if not candidates:
            return []
        loaded: Loaded = await offload(load, self.path, io=True)
        judged: list[Judged] = await offload(read, self.path, [self._parts(c) for c in candidates], io=True)
        for candidate, one in zip(candidates, judged, strict=True):
            if one.logits:
                _charge(loaded, one.tokens)
            elif candidate.branch is not None:
                why = (
                    f"a candidate was not judged: it is longer than the {loaded.context} tokens of the model"
                )
                candidate.branch.degrade("reward_model", why)
        return [self._score(loaded.kind, one.logits) for one in judged]

    def _parts(self, candidate: Candidate) -> tuple[str, list[str]]:
        """The question, and the steps of the text; a text without content is one step."""
        if candidate.problem is None:
            raise BadInput("reward_model() needs the problem that the candidate answers; this one has none")
        steps = [s for s in split_steps(candidate.text, self.separator) if s.strip()]
        return candidate.problem.prompt, steps or [candidate.text or self.separator]

    def _score(self, kind: str, logits: Sequence[Sequence[float]]) -> Score:
        if not logits:
            return NO_WORD
        if kind == "outcome":
            return Score(self._outcome(logits[0]))
        values = tuple(map(self._share, logits))
        return Score(self._joined(values), values)

    def _outcome(self, logits: Sequence[float]) -> float:
        return logits[0] if len(logits) == 1 else self._share(logits)

    def _share(self, logits: Sequence[float]) -> float:
        """The probability of the label that stands for good."""
        if len(logits) == 1:
            return 1 / (1 + math.exp(-logits[0])) if logits[0] > -700 else 0.0
        if not -len(logits) <= self.label < len(logits):
            raise BadInput(f"reward_model(): label={self.label}, but the model has {len(logits)} labels")
        top = max(logits)
        weights = [math.exp(x - top) for x in logits]
        return weights[self.label] / sum(weights)

    def _joined(self, values: Sequence[float]) -> float:
        if self.aggregate == "mean":
            return math.fsum(values) / len(values)
        return {"last": values[-1], "min": min(values), "product": math.prod(values)}[self.aggregate]


def _charge(loaded: Loaded, tokens: int) -> None:
    """Write what it cost into both books: 2 FLOPs a weight and token."""
    cost = Cost(read=tokens, positions=tokens, passes=1, flops=2.0 * loaded.params * tokens)
    current().scope.charge(cost)
    current().scope.charge_actual(cost)
