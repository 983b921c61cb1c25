"""PlanGEN: constraints, a check against them, and a choice among methods for this very problem."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.types import Answer, Can
from outthink.spec import describe, show
from outthink.strategy import _prompts

_SCORE = re.compile(r"score[\s*_:：]*(\d+(?:\.\d+)?)(?:\s*/\s*100)?", re.IGNORECASE)


@dataclass(frozen=True)
class Plangen:
    """Extract the constraints, then choose methods by their promise until a solution satisfies them.

        constraints = extract(problem);  prior = the method that the model would take
        repeat at most `rounds` times, until score >= enough:
            j = argmax of promise_j + explore sqrt(2 ln(t + 1) / (n_j + 1)),
                promise_j = mean score_j, of an untried one 1 for the prior, else 0
            solution = method_j;  score = check(problem, constraints, solution) / 100

    The answer is the solution with the highest score, ties to the earlier; a score that cannot be read counts
    as 0 and is said on the receipt. Parmar et al., "PlanGEN: A Multi-Agent Framework for Generating Planning
    and Reasoning Trajectories for Complex Problem Solving".
    """

    methods: tuple[Strategy, ...]
    rounds: int = 3
    enough: float = 0.95
    explore: float = 0.5
    constraints: str = _prompts.CONSTRAINTS
    check: str = _prompts.CHECK
    select: str = _prompts.SELECT

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError("methods=(): give at least one strategy")
        _prompts.at_least_one(rounds=self.rounds)
        if not 0 <= self.enough <= 1 or self.explore < 0:
            raise ValueError(f"enough={self.enough}, explore={self.explore}: give 0 to 1, and 0 or more")
        _prompts.check_template("constraints", self.constraints, "problem")
        _prompts.check_template("check", self.check, "problem", "constraints", "answer")
        _prompts.check_template("select", self.select, "problem", "constraints", "methods")

    async def __call__(self, root: Branch, /) -> Answer:
        problem = root.problem.prompt
        listed = await _prompts.note(root, _prompts.fill(self.constraints, problem=problem)) or "none"
        prior = await self._prior(root, listed)
        seen: list[list[float]] = [[] for _ in self.methods]
        found: list[Answer] = []
        for turn in range(self.rounds):
            j = self._next(seen, prior, turn)
            answer = await self.methods[j](root.fork()[0])
            root.offer(answer, rank=-1.0)  # until its score is known
            score = await self._score(root, listed, answer)
            seen[j].append(score)
            found.append(replace(_prompts.bare(answer), score=score))
            root.offer(found[-1])
            if score >= self.enough:
                break
        best = max(found, key=lambda a: a.score or 0.0)
        return replace(best, others=tuple(a for a in found if a is not best))

    def _next(self, seen: list[list[float]], prior: int | None, turn: int) -> int:
        """The method with the highest bound, ties to the first."""

        def bound(j: int) -> float:
            n = len(seen[j])
            promise = sum(seen[j]) / n if n else float(j == prior)
            return promise + self.explore * math.sqrt(2 * math.log(turn + 1) / (n + 1))

        return max(range(len(seen)), key=bound)

    async def _prior(self, root: Branch, constraints: str) -> int | None:
        """The index of the method that the model names."""
        if len(self.methods) == 1:
            return 0
        methods = "\n".join(f"{i}. {m!r}: {describe(type(m)).summary}" for i, m in enumerate(self.methods, 1))
        parts = {"problem": root.problem.prompt, "constraints": constraints, "methods": methods}
        reply = await _prompts.note(root, _prompts.fill(self.select, **parts))
        numbers = _prompts.numbers_in(_prompts.last_line(reply or ""))
        if len(numbers) == 1 and 1 <= numbers[0] <= len(self.methods):
            return numbers[0] - 1
        root.degrade("plangen", "the model named no method: all began alike")
        return None

    async def _score(self, root: Branch, constraints: str, answer: Answer) -> float:
        parts = {"problem": root.problem.prompt, "constraints": constraints, "answer": answer.text}
        reply = await _prompts.note(root, _prompts.fill(self.check, **parts))
        match = _SCORE.fullmatch(_prompts.last_line(reply or ""))
        if match is None or float(match[1]) > 100:
            root.degrade("plangen: check", "a score could not be read and counts as 0")
            return 0.0
        return float(match[1]) / 100
