"""Iterative decoding of agents: a verifier's scores of earlier attempts feed the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from outthink.core.branch import Branch
from outthink.core.judging import judge
from outthink.core.protocols import Strategy, Verifier
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy import _prompts
from outthink.strategy._select import drafts
from outthink.strategy.once import Once


@dataclass(frozen=True)
class Iad:
    """Show the model its scored attempts, the best and the worst, and let it write `width` better ones.

        attempts = width x inner, scored;  repeat: width revisions of the best `memory` / 2 and worst
        `memory` / 2 attempts, scored in one batch;  stop at score >= enough

    The answer is the attempt with the highest score, ties to the earlier. Prompts have the places {problem}
    and {attempts}. Chakraborty et al., "Review, Refine, Repeat: Understanding Iterative Decoding of AI Agents
    with Dynamic Evaluation and Selection".
    """

    verifier: Verifier
    rounds: int = 3
    width: int = 2
    memory: int = 2
    enough: float = math.inf
    inner: Strategy = field(default_factory=Once)
    improve: str = _prompts.IMPROVE

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        _prompts.at_least_one(rounds=self.rounds, width=self.width, memory=self.memory)
        _prompts.check_template("improve", self.improve, "problem", "attempts")

    async def __call__(self, root: Branch, /) -> Answer:
        root.record(*self.verifier.records)
        first = await drafts(root, self.inner, self.width, -math.inf)
        attempts = await self._scored(root, first)
        for _ in range(self.rounds):
            if _best(attempts).score >= self.enough:  # type: ignore[operator]
                break
            question = _prompts.fill(
                self.improve, problem=root.problem.prompt, attempts=self._shown(attempts)
            )
            told = await gather(*(_prompts.consult(root, question) for _ in range(self.width)))
            new = [draft for draft in told if draft is not None]
            if not new:
                break
            attempts += await self._scored(root, new)
        best = _best(attempts)
        return replace(best, others=tuple(a for a in attempts if a is not best))

    async def _scored(self, root: Branch, written: Sequence[Answer]) -> list[Answer]:
        """Score drafts in one batch, and offer the best."""
        scores = await judge(self.verifier, [root.candidate(answer) for answer in written])
        found = [replace(_prompts.bare(d), score=s.value) for d, s in zip(written, scores, strict=True)]
        root.offer(_best(found))
        return found

    def _shown(self, attempts: Sequence[Answer]) -> str:
        """The best attempts and the worst, each with its score."""
        ranked = sorted(attempts, key=lambda a: -(a.score or 0.0))
        low = min(self.memory // 2, len(ranked) - 1)
        high = min(self.memory - low, len(ranked) - low)
        kept = ranked[:high] + ranked[len(ranked) - low :]
        return _prompts.numbered([f"Score: {a.score:.3g}\n{a.text.strip()}" for a in kept])


def _best(attempts: Sequence[Answer]) -> Answer:
    """The highest score, ties to the earlier."""
    return max(attempts, key=lambda a: -math.inf if a.score is None else a.score)
