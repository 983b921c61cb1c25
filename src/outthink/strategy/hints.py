"""Hint marginalization: answers of one round are the hints of the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy import _prompts
from outthink.strategy._select import drafts, members, sampled
from outthink.strategy.once import Once
from outthink.strategy.vote import elect


@dataclass(frozen=True)
class Hints:
    """Sample n answers; then `rounds` times sample n more, each hinted at an answer of the round before.

        p_r(y) = sum over h of p_{r-1}(h) p(y | h),   the answer is the mode of the last p_r

    Hints are allotted to samples in proportion to their share (systematic: floor or ceiling), so that the
    shares found are unbiased estimates of p_r. Samples without an answer pass the plain question on. The
    prompt has the places {problem} and {hint}. "Hint Marginalization for Improved Reasoning in Large Language
    Models".
    """

    n: int = 8
    rounds: int = 1
    inner: Strategy = field(default_factory=Once)
    hint: str = _prompts.HINT

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        _prompts.at_least_one(n=self.n, rounds=self.rounds)
        _prompts.check_template("hint", self.hint, "problem", "hint")

    async def __call__(self, root: Branch, /) -> Answer:
        answers = await drafts(root, self.inner, self.n)
        stands: Answer | None = None
        for turn in range(self.rounds):
            answers = [_prompts.bare(answer) for answer in answers]
            stands = _prompts.last_with_final(root, "hints", elect(answers), stands)
            root.offer(stands, rank=turn)
            hints = self._allot(root, answers, turn)
            answers = await gather(
                *(self._hinted(b, h) for b, h in zip(root.fork(self.n), hints, strict=True))
            )
        return _prompts.last_with_final(root, "hints", elect(answers), stands)

    def _allot(self, root: Branch, answers: list[Answer], turn: int) -> list[str | None]:
        """The hint of each sample of the next round; None is no hint."""
        shares: list[tuple[float, str | None]] = [
            (float(len(group)), answers[group[0]].final) for group in members([sampled(a) for a in answers])
        ]
        silent = sum(a.final is None for a in answers)
        shares += [(float(silent), None)] if silent else []
        counts = root.chance("hints").allot([math.log(weight) for weight, _ in shares], self.n, index=turn)
        return [hint for count, (_, hint) in zip(counts, shares, strict=True) for _ in range(count)]

    async def _hinted(self, root: Branch, hint: str | None) -> Answer:
        if hint is None:
            return await self.inner(root)
        question = _prompts.fill(self.hint, problem=root.problem.prompt, hint=hint)
        answer = await _prompts.consult(root, question)
        return await self.inner(root) if answer is None else answer
