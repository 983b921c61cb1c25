"""A process reward head on the hidden states of the model that wrote the text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.receipt import Cost
from outthink.core.tasks import current, gather
from outthink.core.types import Can, Candidate, Score, Want
from outthink.spec import show
from outthink.verify._reward_head import Head, Stop, head_of, likelihoods, stops

JOIN: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda steps: steps[-1],
    "min": min,
    "product": math.prod,
    "mean": fmean,
}
Known = dict[tuple[Any, ...], float]
_known: WeakKeyDictionary[Any, Known] = WeakKeyDictionary()  # by run: what is known of texts


class Text(NamedTuple):
    """Where a candidate's text stands: on which branch, and where its steps stop there."""

    branch: Branch
    stops: list[Stop]
    is_own: bool  # opened for judging, to be closed again


class Lack(NamedTuple):
    """A value that is not known yet: where the state is read, and what else it depends on."""

    at: int
    head: Head
    likely: tuple[float, ...]
    key: tuple[Any, ...]


@dataclass(frozen=True)
class Prm:
    """How likely a solution is to end right, step by step, as a small trained head reads it off the model.

    v_i = sigmoid(W2 relu(W1 [h_i, l_i] + b1) + b2): h_i is the output of the model's last norm at the last
    token of step i's content, l_i six sums and least values of the log-probabilities of what is written up to
    its end (`_reward_head.likelihoods`). value = the last, min, product or mean of v, as `step` says; a text
    without a step is judged at the end of its prompt. `path` is a head's directory; empty: the one that comes
    with the model in use (for pocket, one is in the package). A head judges only the weights that it was
    trained on.

    A step costs one position, once: its token is evaluated for its hidden state (again, where it had cache),
    and what is known of a text is remembered for the run. A text that its branch does not say, or whose
    log-probabilities are not known there, is put after the same prompt and read as a whole. Wang et al.,
    "Math-Shepherd: Verify and Reinforce LLMs Step-by-step without Human Annotations"; Lightman et al., "Let's
    Verify Step by Step", arXiv 2305.20050.

    Raises BadInput for a directory that holds no head, a broken one, or one of another model.
    """

    path: str = ""
    step: str = "last"
    seconds: float | None = None
    records = ()

    needs = Can.HIDDEN | Can.LOGPROBS
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
    """The text on its own branch, or after the same prompt where that does not say it, or not how likely."""
    branch = _branch(candidate)
    found = stops(branch, candidate.text, head.separator)
    if found is not None and None not in branch.logps[: found[-1].end]:
        return Text(branch, found, False)
    prompt = branch.place.tree.tokens(branch.cursor)[: branch.origin]
    opened = await branch.open(prompt, branch.place.name)
    await opened.extend(candidate.text, Want())
    found = stops(opened, candidate.text, head.separator)
    if found is None:
        raise BadInput(
            f"prm(): the tokenizer of {branch.place.name} does not give back {candidate.text[:40]!r}"
        )
    return Text(opened, found, True)


async def _values(texts: Sequence[Text], heads: Sequence[Head], path: str) -> list[list[float]]:
    """The value of each step of each text. What is not known yet is read in one batch, one wait a branch."""
    keys = [_keys(text, path) for text in texts]
    known = _known.setdefault(texts[0].branch.run, {}) if texts else {}
    lacking: dict[Branch, list[Lack]] = {}
    seen: set[tuple[Any, ...]] = set()
    for text, head, some in zip(texts, heads, keys, strict=True):
        likely = likelihoods([p or 0.0 for p in text.branch.logps], text.stops)
        for stop, row, key in zip(text.stops, likely, some, strict=True):
            if key not in known and key not in seen:
                seen.add(key)
                lacking.setdefault(text.branch, []).append(Lack(stop.at, head, row, key))
    rows = await gather(*(branch.hidden([lack.at for lack in some]) for branch, some in lacking.items()))
    for places, states in zip(lacking.values(), rows, strict=True):
        for lack, state in zip(places, states, strict=True):
            known[lack.key] = lack.head.value((*state, *lack.likely))
            _charge(lack.head.flops)
    return [[known[key] for key in some] for some in keys]


def _keys(text: Text, path: str) -> list[tuple[Any, ...]]:
    """What the value of each step depends on: the head, the model, and all tokens up to the step's end."""
    branch = text.branch
    tokens = branch.place.tree.tokens(branch.cursor)
    return [(path, branch.place.name, branch.origin, *tokens[: branch.origin + s.end]) for s in text.stops]


def _charge(flops: float) -> None:
    """What the head itself computes, in both books; the positions are charged where they are read."""
    current().scope.charge(Cost(flops=flops))
    current().scope.charge_actual(Cost(flops=flops))
