"""P(True): how likely the model finds that its answer is true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.judging import NO_WORD
from outthink.core.tasks import gather
from outthink.core.types import Can, Candidate, Score, Want
from outthink.spec import show
from outthink.verify import _prompted


@dataclass(frozen=True)
class SelfEval:
    """The model's own probability that the answer is true, read off its logits: nothing is written.

    value = p(yes) / (p(yes) + p(no)), where p(x) is the probability of the whole text x after the question,
    before any warp or temperature. `model` names another model of the engine; `prompt` has the places
    {question} and {answer}. Kadavath et al., "Language Models (Mostly) Know What They Know", arXiv
    2207.05221.
    """

    yes: str = "True"
    no: str = "False"
    model: str | None = None
    seconds: float | None = None
    prompt: str = _prompted.TRUE_OR_FALSE
    records = ()

    needs = Can.SCORE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if not self.yes or not self.no or self.yes == self.no:
            raise ValueError(f"yes={self.yes!r}, no={self.no!r}: give two different texts")
        _prompted.check_template(self.prompt)

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        return list(await gather(*map(self._one, candidates)))

    async def _one(self, candidate: Candidate) -> Score:
        branch = await _prompted.asked("self_eval", self.prompt, candidate, self.model)
        if branch is None:
            return NO_WORD
        yes, no = await gather(*map(_logprob, branch.fork(2), (self.yes, self.no)))
        branch.close()
        top = max(yes, no)
        if top == -math.inf:
            raise BadInput(
                f"self_eval(): the model gives neither {self.yes!r} nor {self.no!r} any probability"
            )
        value = math.exp(yes - top) / (math.exp(yes - top) + math.exp(no - top))
        return Score(value, passed=value > 0.5)


async def _logprob(branch: Branch, text: str) -> float:
    """The log-probability of `text` here."""
    return (await branch.extend(text, Want())).logprob
