"""What the engine runs for an order: its strategy, n times below one prompt, with what is to be scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from outthink.core.branch import Branch
from outthink.core.protocols import Strategy
from outthink.core.tasks import gather
from outthink.core.types import Answer, Want
from outthink.serve.telling import token_of
from outthink.serve.wire import Token


@dataclass(frozen=True)
class Choices:
    """n independent runs of `inner`. A single one has the root to itself, and writes what it writes anywhere.

    answer = inner(root)    or, for n > 1,    inner(fork_0), ..., inner(fork_{n-1})    sharing the prompt
    """

    inner: Strategy
    ticket: Any

    async def __call__(self, root: Branch, /) -> Answer:
        order = self.ticket.order
        if order.prompt_logprobs is not None:
            self.ticket.scored(await score_prompt(root, order.prompt_logprobs))
        if order.is_scored_only:
            self.ticket.answered(0, answer := Answer("", finish="length", branch=root))
            return answer
        if order.logprobs:
            root.record(f"top{order.logprobs}")
        if order.n == 1:
            return await self._one(0, root)
        answers = await gather(*(self._one(i, branch) for i, branch in enumerate(root.fork(order.n))))
        return replace(answers[0], others=tuple(answers[1:]))

    async def _one(self, index: int, branch: Branch) -> Answer:
        if getattr(self.inner, "streams", False):
            self.ticket.follow(index, branch)
        answer = await self.inner(branch)
        self.ticket.answered(index, answer)
        return answer


async def score_prompt(root: Branch, top: int) -> tuple[Token, ...]:
    """Every token of the prompt with its log-probability; the first has none."""
    tokenizer = root.place.tokenizer
    tokens = root.place.tree.tokens(root.cursor)[: root.origin]
    rows = await root.score_prompt(Want(top=top))
    found, push = [], tokenizer.detokenizer().push
    for i, token in enumerate(tokens):
        text = push(token) or tokenizer.decode([token])
        best = rows.dists[i - 1].top if i else ()
        found.append(token_of(tokenizer, token, text, rows.logprobs[i - 1] if i else None, best))
    return tuple(found)
