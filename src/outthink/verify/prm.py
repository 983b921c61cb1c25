"""A process reward head on the hidden states of the model that wrote the text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.tasks import current, gather
from outthink.core.types import Can, Candidate, Cost, Score
from outthink.spec import show
from outthink.verify._reward_head import Head, head_of, tokens_to

JOIN = {"last": lambda steps: steps[-1], "min": min, "product": math.prod, "mean": fmean}
Known = dict[tuple[Any, ...], float]
_known: WeakKeyDictionary[Any, Known] = WeakKeyDictionary()  # by run: what is known of texts


class Text(NamedTuple):
    """Where a candidate's text stands: on which branch, after how many of its tokens each step ends."""

    branch: Branch
    ends: list[int]
    is_own: bool  # opened for judging, to be closed again


@dataclass(frozen=True)
class Prm:
    """How likely a solution is to end right, step by step, as a small trained head reads it off the model.

    v_i = sigmoid(W2 relu(W1 h_i + b1) + b2), where h_i is the output of the model's last norm at the last
    token of step i; value = the last, min, product or mean of v, as `step` says. A text without a step is
    judged at the end of its prompt. `path` is a head's directory; empty: the one that comes with the model in
    use (for pocket, one is in the package). A head judges only the weights that it was trained on.

    A step costs one position, once: it is evaluated for its hidden state (again, where it had cache), and what
    is known of a text is remembered for the run. Wang et al., "Math-Shepherd: Verify and Reinforce LLMs
    Step-by-step without Human Annotations"; Lightman et al., "Let's Verify Step by Step", arXiv 2305.20050.

    Raises BadInput for a directory that holds no head, a broken one, or one of another model.
    """

    path: str = ""
    step: str = "last"
    seconds: float | None = None
    records = ()

    needs = Can.HIDDEN
    __repr__ = show

    def __post_init__(self) -> None:
        if self.step not in JOIN:
            raise ValueError(f"step={self.step!r}: give one of {', '.join(map(repr, JOIN))}")

    @property
    def remote_safe(self) -> bool:
        """Only a given path lets a stranger name files."""
        return not self.path

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        heads = [head_of(self.path, _branch(c).place) for c in candidates]
        texts = [await _text(c, head) for c, head in zip(candidates, heads, strict=True)]
        values = await _values(texts, heads, self.path)
        for text in texts:
            if text.is_own:
                text.branch.close()
        return [Score(float(JOIN[self.step](steps)), tuple(steps)) for steps in values]


def _branch(candidate: Candidate) -> Branch:
    if candidate.branch is None:
        raise BadInput("prm() reads the model's hidden states; a recorded candidate has no branch to read on")
    return candidate.branch


async def _text(candidate: Candidate, head: Head) -> Text:
    """The text on its own branch, or put after the same prompt where the branch does not say it."""
    branch = _branch(candidate)
    ends = tokens_to(branch, candidate.text, head.separator)
    if ends is not None:
        return Text(branch, ends, False)
    prompt = branch.place.tree.tokens(branch.cursor)[: branch.origin]
    opened = await branch.open(prompt, branch.place.name)
    await opened.extend(candidate.text)
    ends = tokens_to(opened, candidate.text, head.separator)
    if ends is None:
        raise BadInput(f"prm(): the tokenizer of {branch.place.name} does not give back {candidate.text[:40]!r}")
    return Text(opened, ends, True)


async def _values(texts: Sequence[Text], heads: Sequence[Head], path: str) -> list[list[float]]:
    """The value of each step of each text. What is not known yet is read in one batch, one wait a branch."""
    keys = [_keys(text, path) for text in texts]
    known = _known.setdefault(texts[0].branch.run, {}) if texts else {}
    lacking: dict[Branch, dict[int, tuple[Any, ...]]] = {}
    seen: set[tuple[Any, ...]] = set()
    by_branch = dict(zip((text.branch for text in texts), heads, strict=True))
    for text, some in zip(texts, keys, strict=True):
        for end, key in zip(text.ends, some, strict=True):
            if key not in known and key not in seen:
                seen.add(key)
                lacking.setdefault(text.branch, {})[end] = key
    rows = await gather(*(branch.hidden(list(ends)) for branch, ends in lacking.items()))
    for (branch, ends), states in zip(lacking.items(), rows, strict=True):
        head = by_branch[branch]
        _charge(head.flops * len(states))
        known.update((key, head.value(state)) for key, state in zip(ends.values(), states, strict=True))
    return [[known[key] for key in some] for some in keys]


def _keys(text: Text, path: str) -> list[tuple[Any, ...]]:
    """What the value of each step depends on: the head, the model, and all tokens up to the step's end."""
    branch = text.branch
    tokens = branch.place.tree.tokens(branch.cursor)
    return [(path, branch.place.name, *tokens[: branch.origin + end]) for end in text.ends]


def _charge(flops: float) -> None:
    """What the head itself computes, in both books; the positions are charged where they are read."""
    current().scope.charge(Cost(flops=flops))
    current().scope.charge_actual(Cost(flops=flops))
