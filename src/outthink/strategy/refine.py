"""Self-Refine: write, criticize, revise."""

from __future__ import annotations

from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy import _prompts
from outthink.strategy.once import Once


@dataclass(frozen=True)
class Refine:
    """Let the model criticize its own answer and rewrite it, at most `rounds` times.

        answer = inner; repeat: critique; stop if its last line is "No mistakes."; answer = revision

    A revision without a final answer does not replace one that has it. Each round sees the last answer and
    its review alone, where the paper's prompts show all that came before: here no context grows with the
    rounds (the paper has 4 at most). Prompts have the places {problem},
    {answer} and {critique}. Madaan et al., "Self-Refine: Iterative Refinement with Self-Feedback", arXiv
    2303.17651.
    """

    rounds: int = 3
    inner: Strategy = field(default_factory=Once)
    critique: str = _prompts.CRITIQUE
    revise: str = _prompts.REVISE

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        _prompts.at_least_one(rounds=self.rounds)
        _prompts.check_template("critique", self.critique, "problem", "answer")
        _prompts.check_template("revise", self.revise, "problem", "answer", "critique")

    async def __call__(self, root: Branch, /) -> Answer:
        answer = await self.inner(root.fork()[0])
        for turn in range(self.rounds):
            root.offer(answer, rank=turn)
            revised = await self._revised(root, answer)
            if revised is None:
                break
            if revised.final is not None or answer.final is None:
                answer, revised = revised, answer
            _prompts.bare(revised)
        return answer

    async def _revised(self, root: Branch, answer: Answer) -> Answer | None:
        """A revision; None if there is nothing to mend."""
        parts = {"problem": root.problem.prompt, "answer": answer.text}
        critique = await _prompts.note(root, _prompts.fill(self.critique, **parts))
        if critique is None or _prompts.last_line(critique).lower() == "no mistakes":
            return None
        return await _prompts.consult(root, _prompts.fill(self.revise, **parts, critique=critique))
