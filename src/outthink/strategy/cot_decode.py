"""CoT-decoding: branch on the first token only, and trust the path that is sure of its answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.samples import Choice, Sampled
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can, Want
from outthink.spec import show
from outthink.strategy._select import best, poll, scores_of, settle
from outthink.strategy.once import read_off


def answer_span(branch: Branch, final: str) -> tuple[int, int]:
    """The tokens, from first to last + 1, that write the last occurrence of the final answer."""
    text, tokens = branch.text(), branch.tokens
    at = text.rindex(final)
    lengths = [len(branch.place.tokenizer.decode(tokens[: i + 1])) for i in range(len(tokens))]
    first = next(i for i, length in enumerate(lengths) if length > at)
    last = next(i for i, length in enumerate(lengths) if length >= at + len(final))
    return first, last + 1


@dataclass(frozen=True)
class CotDecode:
    """Start with each of the k likeliest first tokens, write on greedily, and pick by the margin of the
    answer.

    score of a path = mean over the tokens of its final answer of p(likeliest) - p(second likeliest)

    With `pooled`, the scores of equal answers are summed and the largest sum wins; without, the largest
    score. A path without a final answer has score 0 and no vote. Stops are looked for after the first token,
    which is given. Wang and Zhou, "Chain-of-Thought Reasoning Without Prompting", arXiv 2402.10200; there
    k=10.
    """

    k: int = 8
    pooled: bool = True

    needs = Can.GENERATE | Can.SCORE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k}: give at least 1")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        return poll(samples, scores_of(samples)) if self.pooled else best(scores_of(samples))

    async def __call__(self, root: Branch, /) -> Answer:
        first = (await root.look(Want(top=self.k))).top
        ended: dict[int, Answer] = {}

        async def one(i: int, token: int, branch: Branch) -> None:
            ended[i] = await self._path(branch, token)
            root.offer(settle([ended[n] for n in sorted(ended)], self.select), rank=len(ended))

        branches = root.fork(len(first))
        await gather(*(one(i, t, b) for i, ((t, _), b) in enumerate(zip(first, branches, strict=True))))
        return settle([ended[n] for n in sorted(ended)], self.select)

    async def _path(self, branch: Branch, token: int) -> Answer:
        """The greedy text that begins with a token, scored."""
        await branch.extend([token])
        sampling, reason = branch.sampling, "eos"
        room = branch.place.context - branch.cursor.length
        if sampling.max_tokens is not None:
            room = min(room, sampling.max_tokens - 1)
        if room < 1:
            reason = "length"
        elif token not in branch.place.eos:
            finish = await branch.generate(replace(sampling, temperature=0.0, max_tokens=room))
            reason = finish.reason
        answer = read_off(branch, reason)
        score = 0.0 if answer.final is None else await self._margin(branch, answer.final)
        return replace(answer, score=score)

    async def _margin(self, branch: Branch, final: str) -> float:
        """How far the likeliest token is ahead on average, where the answer is written."""
        begin, end = answer_span(branch, final)
        [reader] = branch.fork()
        tokens = reader.tokens[begin:end]
        reader.rewind(begin)
        rows = await reader.extend(tokens, Want(top=2))
        reader.close()
        tops = [[math.exp(p) for _, p in dist.top] for dist in rows.dists]
        return math.fsum(top[0] - (top[1] if len(top) > 1 else 0.0) for top in tops) / len(tops)
