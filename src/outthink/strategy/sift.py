"""SIFT: ground the answer in a list of the question's facts, the sticker."""

from __future__ import annotations

from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy import _prompts
from outthink.strategy.once import Once
from outthink.strategy.vote import elect
from outthink.text import equivalent


@dataclass(frozen=True)
class Sift:
    """Answer without and with a list of the key facts; while the two differ, mend the list.

        plain = inner;  sticker = facts(problem);  grounded = answer(problem, sticker)
        repeat at most `rounds` times, until grounded agrees with plain:
            sticker = forward(problem, sticker)     in odd rounds: align it with the question
            sticker = inverse(grounded)             in even rounds: what the answer takes for given
            grounded = answer(problem, sticker)

    Without agreement all predictions vote, ties to the plain one. Prompts have the places {problem},
    {sticker} and {answer}. "SIFT: Grounding LLM Reasoning in Contexts via Stickers", arXiv 2502.14922, as its
    first abstract has it; the published version compares with the answer from the sticker alone.
    """

    rounds: int = 2
    inner: Strategy = field(default_factory=Once)
    sticker: str = _prompts.STICKER
    grounded: str = _prompts.WITH_STICKER
    forward: str = _prompts.FORWARD
    inverse: str = _prompts.INVERSE

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ValueError(f"rounds={self.rounds}: give 0 or more")
        _prompts.check_template("sticker", self.sticker, "problem")
        _prompts.check_template("grounded", self.grounded, "problem", "sticker")
        _prompts.check_template("forward", self.forward, "problem", "sticker")
        _prompts.check_template("inverse", self.inverse, "answer")

    async def __call__(self, root: Branch, /) -> Answer:
        answers = [await self.inner(root.fork()[0])]
        root.offer(answers[0], rank=0)
        sticker: str | None = None
        for turn in range(self.rounds + 1):
            sticker = await self._sticker(root, turn, sticker, answers[-1])
            if sticker is None:
                break
            question = _prompts.fill(self.grounded, problem=root.problem.prompt, sticker=sticker)
            grounded = await _prompts.consult(root, question)
            if grounded is None:
                break
            answers.append(grounded)
            root.offer(elect(answers), rank=turn + 1)
            if equivalent(grounded.final, answers[0].final):
                break
        return elect(answers)

    async def _sticker(self, root: Branch, turn: int, sticker: str | None, answer: Answer) -> str | None:
        """The list of facts for this turn: a first one, aligned with the question, or read off an answer."""
        problem = root.problem.prompt
        if turn == 0:
            return await _prompts.note(root, _prompts.fill(self.sticker, problem=problem))
        if turn % 2 == 0:
            return await _prompts.note(root, _prompts.fill(self.inverse, answer=answer.text))
        return await _prompts.note(
            root, _prompts.fill(self.forward, problem=problem, sticker=sticker or "none")
        )
