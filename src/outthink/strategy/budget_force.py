"""Budget forcing: make a model think longer, or end its thinking with an answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy.once import read_off
from outthink.text import final_answer

LEAST_ANSWER = 1  # tokens that must be left for an answer after its cue


@dataclass(frozen=True)
class BudgetForce:
    """Where the model would end, append a hint such as "Wait" instead; at the cap, cue the answer.

        for hint in hints: write; if it ended by itself: take the end token off, append hint, go on
        when `most` tokens of thinking are reached, or there is no answer at the end: append `cue`, write the
        answer, `answer` tokens at most

    hints=("\\nWait,",) is s1's budget forcing; a hint that names a tool is Hint-infer. The last text with a
    final answer stands if the context is full. Muennighoff et al., "s1: Simple test-time scaling", arXiv
    2501.19393; "START: Self-taught Reasoner with Tools", arXiv 2503.04625.
    """

    hints: tuple[str, ...] = ("\nWait,",)
    most: int | None = None
    answer: int = 32
    cue: str = "\nA:"

    needs = Can.GENERATE | Can.REWIND
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if isinstance(self.hints, str) or not all(self.hints) or not self.cue:
            raise ValueError(f"hints={self.hints!r}, cue={self.cue!r}: give texts that are not empty")
        if self.answer < 1 or (self.most is not None and self.most < 1):
            raise ValueError(f"most={self.most}, answer={self.answer}: give at least 1")

    async def __call__(self, root: Branch, /) -> Answer:
        [branch] = root.fork()
        reason = ""
        for i, hint in enumerate((None, *self.hints)):
            if hint is not None and not await _append(branch, hint):
                break
            reason = await self._think(branch)
            root.offer(read_off(branch, reason), rank=i)
            if reason == "length":
                break
        if reason == "length" or final_answer(branch.text()).value is None:
            reason = await self._conclude(branch, reason)
        return read_off(branch, reason)

    async def _think(self, branch: Branch) -> str:
        """Write on, `most` tokens in all and room for the answer left; why that ended. "length" if there is
        none."""
        kept = _length(branch, self.cue) + LEAST_ANSWER
        cap = min(self.most or branch.place.context, branch.sampling.max_tokens or branch.place.context)
        left = min(cap - len(branch), branch.place.context - branch.cursor.length - kept)
        if left < 1:
            return "length"
        return (await branch.generate(replace(branch.sampling, max_tokens=left))).reason

    async def _conclude(self, branch: Branch, reason: str) -> str:
        """Cue the answer and write it, up to the end of its line."""
        if not await _append(branch, self.cue):
            return reason
        room = branch.place.context - branch.cursor.length
        sampling = replace(branch.sampling, max_tokens=min(self.answer, room), stop=("\n",))
        return (await branch.generate(sampling)).reason


async def _append(branch: Branch, text: str) -> bool:
    """Take an end token off and put a text there; whether that leaves room to go on."""
    tokens = branch.tokens
    if tokens and tokens[-1] in branch.place.eos:
        branch.rewind(len(tokens) - 1)
    needed = _length(branch, text) + LEAST_ANSWER
    if branch.cursor.length + needed > branch.place.context:
        branch.degrade("budget_force", "the context is full: nothing more was forced")
        return False
    await branch.extend(text)
    return True


def _length(branch: Branch, text: str) -> int:
    """How many tokens a text is."""
    return len(branch.place.tokenizer.encode(text, special=False))
