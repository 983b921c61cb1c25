"""Just read twice: the question, and the question again."""

from __future__ import annotations

from dataclasses import dataclass, field

from outthink.core.branch import Branch
from outthink.core.errors import PromptTooLong
from outthink.core.protocols import Strategy
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy.once import Once


@dataclass(frozen=True)
class ReadTwice:
    """Repeat the question `times` times in the prompt, so that a model sees its parts in every order.

    The prompt costs `times` times the tokens, which the receipt shows as read. Where it does not fit the
    context the question is read once, and the receipt says so. Arora et al., "Just read twice: closing the
    recall gap for recurrent language models", arXiv 2407.05483.
    """

    times: int = 2
    separator: str = "\n\n"
    inner: Strategy = field(default_factory=Once)

    needs = Can.GENERATE
    __repr__ = show

    def __post_init__(self) -> None:
        if self.times < 2:
            raise ValueError(f"times={self.times}: give at least 2")

    async def __call__(self, root: Branch, /) -> Answer:
        question = self.separator.join([root.problem.prompt] * self.times)
        try:
            branch = await root.ask(question, is_problem=True)
        except PromptTooLong as error:
            root.degrade("read_twice", f"the question was read once: {error}")
            [branch] = root.fork()
        return await self.inner(branch)
