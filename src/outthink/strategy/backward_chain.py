"""LAMBADA: prove the goal backwards, with four prompted modules."""

from __future__ import annotations

import re
from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy import _prompts

VERDICTS = {"proved": True, "disproved": False}
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


class _Search:
    """One proof search: the premises, and the steps that proved something."""

    def __init__(self, part: BackwardChain, root: Branch, premises: list[str]) -> None:
        self.part, self.root, self.premises = part, root, premises
        self.listed = "\n".join(f"{i}. {premise}" for i, premise in enumerate(premises, 1))
        self.steps: list[str] = []
        self.replies: dict[str, str] = {}  # a goal comes again by other rules: asked once

    async def prove(self, goal: str, depth: int, above: tuple[str, ...] = ()) -> bool | None:
        """True: it holds, False: its opposite does, None: neither was found."""
        if goal in above:
            return None
        verdict = await self._fact(goal)
        if verdict is not None or depth == 0:
            return verdict
        for rule in await self._rules(goal):
            goals = await self._decomposed(rule, goal)
            if goals and await self._all_hold(goals, depth - 1, (*above, goal)):
                agrees = await self._agrees(rule, goal)
                if agrees is not None:
                    self._step(goal, agrees, rule)
                    return agrees
        return None

    async def _all_hold(self, goals: list[str], depth: int, above: tuple[str, ...]) -> bool:
        for goal in goals:
            if await self.prove(goal, depth, above) is not True:
                return False
        return True

    async def _fact(self, goal: str) -> bool | None:
        line = await self._ask(self.part.fact, premises=self.listed, goal=goal)
        verdict = VERDICTS.get(line.lower())
        if verdict is not None:
            self._step(goal, verdict, "given")
        return verdict

    async def _rules(self, goal: str) -> list[str]:
        line = await self._ask(self.part.rules, premises=self.listed, goal=goal)
        numbers = dict.fromkeys(_prompts.numbers_in(line))
        found = [self.premises[n - 1] for n in numbers if 1 <= n <= len(self.premises)]
        return sorted(found, key=len)

    async def _decomposed(self, rule: str, goal: str) -> list[str]:
        text = await self._reply(self.part.decompose, rule=rule, goal=goal)
        return [line.strip(" \t*-") for line in text.splitlines() if line.strip(" \t*-")]

    async def _agrees(self, rule: str, goal: str) -> bool | None:
        line = await self._ask(self.part.sign, rule=rule, goal=goal)
        return {"agrees": True, "contradicts": False}.get(line.lower())

    async def _ask(self, template: str, **values: str) -> str:
        return _prompts.last_line(await self._reply(template, **values))

    async def _reply(self, template: str, **values: str) -> str:
        question = _prompts.fill(template, **values)
        if question not in self.replies:
            self.replies[question] = await _prompts.note(self.root, question) or ""
        return self.replies[question]

    def _step(self, goal: str, holds: bool, why: str) -> None:
        self.steps.append(f"{goal}: {'holds' if holds else 'does not hold'} ({why})")


@dataclass(frozen=True)
class BackwardChain:
    """Search backwards from the goal, the question's last sentence, to the premises, the sentences before it.

        prove(goal, d): fact check;  else for each rule selected:
            decompose it into sub-goals;  if all are proved at d - 1: the sign says proved or disproved

    Depth first, at most `depth` rules deep, short rules first (they have fewer conditions); a goal that is
    being proved is not tried again below itself, and no question is put twice. The final answer is `yes`,
    `no` or `unknown`; the text lists the steps. Each module is one short question, and an answer to it that
    cannot be read is none. Kazemi et al., "LAMBADA: Backward Chaining for Automated
    Reasoning in Natural Language", arXiv 2212.13894.
    """

    depth: int = 4
    fact: str = _prompts.FACT
    rules: str = _prompts.RULES
    decompose: str = _prompts.DECOMPOSE
    sign: str = _prompts.SIGN

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"depth={self.depth}: give 0 or more")
        for name in ("fact", "rules"):
            _prompts.check_template(name, getattr(self, name), "premises", "goal")
        for name in ("decompose", "sign"):
            _prompts.check_template(name, getattr(self, name), "rule", "goal")

    async def __call__(self, root: Branch, /) -> Answer:
        sentences = [s.strip() for s in SENTENCE.split(root.problem.prompt) if s.strip()]
        *premises, goal = sentences
        search = _Search(self, root, premises)
        root.offer(_told([], "unknown"), rank=0)
        verdict = await search.prove(goal, self.depth)
        return _told(search.steps, {True: "yes", False: "no", None: "unknown"}[verdict])


def _told(steps: list[str], final: str) -> Answer:
    return Answer("\n".join([*steps, f"A: {final}"]), final, finish="done")
