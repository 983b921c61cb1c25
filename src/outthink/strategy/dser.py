"""Deep self-evolving reasoning: long chains of check and revise, side by side, that vote."""

from __future__ import annotations

from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy import _prompts
from outthink.strategy._select import drafts
from outthink.strategy.once import Once
from outthink.strategy.vote import elect


def share_right(start: float, fix: float, spoil: float, rounds: int) -> float:
    """How often a chain is right after so many rounds, if a round mends a wrong answer with probability `fix`
    and spoils a right one with probability `spoil`.

    p_T = q + (p_0 - q) (1 - fix - spoil)^T,  q = fix / (fix + spoil)
    """
    if fix + spoil == 0:
        return start
    rest = fix / (fix + spoil)
    return rest + (start - rest) * (1 - fix - spoil) ** rounds


@dataclass(frozen=True)
class Dser:
    """Run n chains of `rounds` rounds of verification and revision, and let their last answers vote.

        chain: answer = inner; repeat: review = check(answer); answer = revise(answer, review)

    A chain never stops early: rounds are steps of a Markov chain over answers, and the vote amplifies the
    case that mending is more likely than spoiling (`share_right`). Prompts have the places {problem},
    {answer} and {critique}. "Deep Self-Evolving Reasoning".
    """

    n: int = 4
    rounds: int = 4
    inner: Strategy = field(default_factory=Once)
    critique: str = _prompts.CRITIQUE
    revise: str = _prompts.REVISE

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        _prompts.at_least_one(n=self.n, rounds=self.rounds)
        _prompts.check_template("critique", self.critique, "problem", "answer")
        _prompts.check_template("revise", self.revise, "problem", "answer", "critique")

    async def __call__(self, root: Branch, /) -> Answer:
        chains = await drafts(root, self.inner, self.n)
        stands: Answer | None = None
        for turn in range(self.rounds):
            chains = [_prompts.bare(answer) for answer in chains]
            stands = _prompts.last_with_final(root, "dser", elect(chains), stands)
            root.offer(stands, rank=turn)
            chains = await gather(*(self._step(b, a) for b, a in zip(root.fork(self.n), chains, strict=True)))
        return _prompts.last_with_final(root, "dser", elect(chains), stands)

    async def _step(self, root: Branch, answer: Answer) -> Answer:
        """One round of one chain; where its questions do not fit, the answer stays."""
        parts = {"problem": root.problem.prompt, "answer": answer.text}
        review = await _prompts.note(root, _prompts.fill(self.critique, **parts))
        if review is None:
            return answer
        revised = await _prompts.consult(root, _prompts.fill(self.revise, **parts, critique=review))
        return answer if revised is None else revised
