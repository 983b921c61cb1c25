"""Parallel-Distill-Refine: drafts side by side, distilled into a bounded workspace, refined from it."""

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


@dataclass(frozen=True)
class Pdr:
    """Draft n answers in parallel, distil them into notes of `workspace` tokens, draft again from these.

        drafts = n x inner
        repeat `rounds` times: notes = distil(drafts)
            drafts = n x answer(problem, notes), 1 in the last round

    Where a round ends without a final answer, the vote of the drafts before it stands. No context is longer
    than problem + n * longest draft + workspace (and the templates), however many the rounds; n = 1 is
    sequential refinement. Prompts have the places {problem}, {drafts} and {workspace}.
    "Rethinking Thinking Tokens: LLMs as Improvement Operators".
    """

    n: int = 4
    rounds: int = 1
    workspace: int = 512
    inner: Strategy = field(default_factory=Once)
    distil: str = _prompts.WORKSPACE
    refine: str = _prompts.FROM_WORKSPACE

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        _prompts.at_least_one(n=self.n, rounds=self.rounds, workspace=self.workspace)
        _prompts.check_template("distil", self.distil, "problem", "drafts")
        _prompts.check_template("refine", self.refine, "problem", "workspace")

    async def __call__(self, root: Branch, /) -> Answer:
        found = await drafts(root, self.inner, self.n)
        stands: Answer | None = None
        for turn in range(self.rounds):
            bare = [_prompts.bare(draft) for draft in found]
            stands = _prompts.last_with_final(root, "pdr", elect(bare), stands)
            root.offer(stands, rank=turn)
            found = await self._again(root, bare, 1 if turn + 1 == self.rounds else self.n)
            if not found:
                return stands
        return _prompts.last_with_final(root, "pdr", found[0], stands)

    async def _again(self, root: Branch, earlier: list[Answer], n: int) -> list[Answer]:
        """n answers from the notes on these drafts; none where that does not fit."""
        problem = root.problem.prompt
        listed = _prompts.numbered([draft.text for draft in earlier])
        question = _prompts.fill(self.distil, problem=problem, drafts=listed)
        notes = await _prompts.note(root, question, self.workspace)
        if notes is None:
            return []
        question = _prompts.fill(self.refine, problem=problem, workspace=notes)
        answers = await gather(*(_prompts.consult(root, question) for _ in range(n)))
        return [answer for answer in answers if answer is not None]
