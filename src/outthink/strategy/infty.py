"""InftyThink: short segments of reasoning, each replaced by a summary of the progress."""

from __future__ import annotations

from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy import _prompts


@dataclass(frozen=True)
class Infty:
    """Reason in segments of at most `segment` tokens; a summary of `summary` tokens takes their place.

        notes = ""
        repeat at most `rounds` times:
            part = go on(problem, notes), segment tokens at most; if it ended with an answer, that is it
            notes = summarize(problem, notes, part)

    Depth grows with the rounds, memory does not: no context is longer than the template, problem + summary +
    segment + summary. Prompts have the places {problem}, {summary} and {segment}. "InftyThink: Breaking the
    Length Limits of Long-Context Reasoning in Large Language Models", arXiv 2503.06692.
    """

    rounds: int = 8
    segment: int = 512
    summary: int = 128
    go_on: str = _prompts.SEGMENT
    summarize: str = _prompts.SUMMARY

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        _prompts.at_least_one(rounds=self.rounds, segment=self.segment, summary=self.summary)
        _prompts.check_template("go_on", self.go_on, "problem", "summary")
        _prompts.check_template("summarize", self.summarize, "problem", "summary", "segment")

    async def __call__(self, root: Branch, /) -> Answer:
        notes = "nothing yet"
        found = Answer("")
        for turn in range(self.rounds):
            part = await self._segment(root, notes)
            if part is None:
                break
            found = part
            root.offer(found, rank=turn)
            if (found.finish != "length" and found.final is not None) or turn + 1 == self.rounds:
                break
            summary = await self._summary(root, notes, found.text)
            if summary is None:
                break
            notes = summary
        return found

    async def _segment(self, root: Branch, notes: str) -> Answer | None:
        """The next segment, its cache given back."""
        most = min(self.segment, root.sampling.max_tokens or self.segment)
        question = _prompts.fill(self.go_on, problem=root.problem.prompt, summary=notes)
        found = await _prompts.consult(root, question, replace(root.sampling, max_tokens=most))
        return None if found is None else _prompts.bare(found)

    async def _summary(self, root: Branch, notes: str, segment: str) -> str | None:
        parts = {"problem": root.problem.prompt, "summary": notes, "segment": segment}
        return await _prompts.note(root, _prompts.fill(self.summarize, **parts), self.summary)
