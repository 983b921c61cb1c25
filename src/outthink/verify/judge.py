"""A language model as the judge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.judging import NO_WORD
from outthink.core.tasks import gather
from outthink.core.types import Can, Candidate, Score
from outthink.spec import show
from outthink.verify import _prompted

_VERDICT = re.compile(
    r"^[ \t*_#>`-]*verdict[*_` \t]*[:：][*_` \t]*(correct|incorrect)\b[*_`. \t]*$", re.I | re.M
)
_SCORE = re.compile(
    r"^[ \t*_#>`-]*score[*_` \t]*[:：][*_` \t]*(-?\d+(?:\.\d+)?)[ \t]*(?:/[ \t]*10)?[*_`. \t]*$", re.I | re.M
)


def verdict(text: str) -> float | None:
    """1.0 for `Verdict: correct`, 0.0 for `Verdict: incorrect`, x/10 for `Score: x`; None for anything else.

    A line of its own decides, never a word in a sentence. Lines that contradict each other are no verdict, a
    score outside 0 to 10 is none.
    """
    said = {float(word.lower() == "correct") for word in _VERDICT.findall(text)}
    said |= {float(number) / 10 for number in _SCORE.findall(text)}
    return said.pop() if len(said) == 1 and min(said) >= 0 and max(said) <= 1 else None


@dataclass(frozen=True)
class Judge:
    """Ask a model for a verdict on each candidate: the mean of n verdicts, from 0 to 1.

    value = mean over the n replies' verdicts (1 correct, 0 incorrect, or score / 10). A reply without a
    verdict is asked for again, `tries` times in all; a candidate without any verdict gets no word (-inf), and
    the receipt says so. `model` names another model of the engine; `prompt` has the places {question} and
    {answer}. Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv 2306.05685.
    """

    n: int = 1
    tries: int = 2
    model: str | None = None
    temperature: float = 0.0  # of the first try; later tries are sampled at 1 where this is 0
    max_tokens: int = 512
    seconds: float | None = None
    prompt: str = _prompted.JUDGE
    records = ()

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.n < 1 or self.tries < 1 or self.max_tokens < 1:
            raise ValueError(f"n={self.n}, tries={self.tries}, max_tokens={self.max_tokens}: give at least 1")
        if self.temperature < 0:
            raise ValueError(f"temperature={self.temperature}: give 0 or more")
        _prompted.check_template(self.prompt)

    async def __call__(self, candidates: Sequence[Candidate], /) -> list[Score]:
        return list(await gather(*map(self._one, candidates)))

    async def _one(self, candidate: Candidate) -> Score:
        branches = [await _prompted.asked("judge", self.prompt, candidate, self.model) for _ in range(self.n)]
        replies = await gather(*(self._hear(b) for b in branches if b is not None))
        verdicts = [v for v in replies if v is not None]
        if not verdicts:
            self._say_none(candidate)
            return NO_WORD
        value = sum(verdicts) / len(verdicts)
        return Score(value, passed=value > 0.5)

    def _say_none(self, candidate: Candidate) -> None:
        assert candidate.branch is not None
        candidate.branch.degrade("judge", "a candidate got no verdict that can be read")

    async def _hear(self, branch: Branch) -> float | None:
        """The verdict of one reply, the first of `tries` that has one."""
        heard = None
        for k in range(self.tries):
            warm = self.temperature or float(k > 0 or self.n > 1)
            finish = await branch.generate(
                replace(branch.sampling, temperature=warm, max_tokens=self.max_tokens, stop=())
            )
            heard = verdict(finish.text) if finish.reason != "length" else None
            if heard is not None or k + 1 == self.tries:
                break
            branch.rewind(0)
        branch.close()
        return heard
