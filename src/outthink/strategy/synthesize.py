"""Answer synthesis: the model reads several candidates and writes a new answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
class Synthesize:
    """Let the model read n candidates and reason to an answer of its own, `samples` times, and vote.

    It can be right where all candidates are wrong. Candidates without a final answer are shown too; where
    they do not fit the context, or no synthesis ends with an answer, the candidates vote. The prompt has the
    places {problem} and {candidates}. "CoT-based Synthesizer: Enhancing LLM Performance through Answer
    Synthesis" (without its training).
    """

    n: int = 4
    samples: int = 1
    inner: Strategy = field(default_factory=Once)
    synthesize: str = _prompts.SYNTHESIZE

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        _prompts.at_least_one(n=self.n, samples=self.samples)
        _prompts.check_template("synthesize", self.synthesize, "problem", "candidates")

    async def __call__(self, root: Branch, /) -> Answer:
        candidates = await drafts(root, self.inner, self.n)
        candidates = [_prompts.bare(candidate) for candidate in candidates]
        fallback = elect(candidates)
        root.offer(fallback)
        listed = _prompts.numbered([candidate.text for candidate in candidates])
        question = _prompts.fill(self.synthesize, problem=root.problem.prompt, candidates=listed)
        replies = await gather(*(_prompts.consult(root, question) for _ in range(self.samples)))
        found = [reply for reply in replies if reply is not None and reply.final is not None]
        if not found:
            root.degrade("synthesize", "no synthesis ended with an answer: the candidates voted")
            return fallback
        winner = elect(found)
        return replace(winner, others=(*winner.others, *candidates))
