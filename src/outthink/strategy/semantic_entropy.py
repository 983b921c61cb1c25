"""Rounds of parallel answers, each round shown the last one's, until the answers say the same."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.samples import Choice, Sampled
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._select import members, poll_among, sampled
from outthink.strategy.once import Once
from outthink.strategy.vote import elect

FIELDS = ("{question}", "{answers}")


def entropy(samples: Sequence[Sampled]) -> float:
    """-sum over classes c of p_c log p_c, p_c the share of the samples; one without an answer is alone."""
    groups = [len(group) for group in members(samples)]
    sizes = groups + [1] * (len(samples) - sum(groups))
    return abs(math.fsum(s / len(samples) * math.log(s / len(samples)) for s in sizes))


@dataclass(frozen=True)
class SemanticEntropy:
    """Answer n times in parallel; end if the entropy of the answers' meanings is low, else go round again.

    H = -sum over classes c of p_c log p_c, in nats; it ends when H <= threshold, after `rounds` rounds, or
    where the next prompt is too long for the context. The answer is the vote of the last round. The prompt of
    a later round is `prompt` with {question} and the last round's {answers}, one a line. With prompt="" every
    round asks the question itself and all rounds vote; that is what recorded samples can replay. Xu et al.,
    "Adaptive Termination for Multi-round Parallel Reasoning: An Universal Semantic Entropy-Guided Framework";
    threshold and prompt are ours.
    """

    n: int = 4
    rounds: int = 3
    threshold: float = 0.6
    prompt: str = "{question}\n\nearlier answers:\n{answers}\n"

    needs = Can.GENERATE
    is_sequential = True
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ValueError(f"n={self.n}: give at least 2; one answer always agrees with itself")
        if self.rounds < 1:
            raise ValueError(f"rounds={self.rounds}: give at least 1")
        if not self.threshold >= 0:
            raise ValueError(f"threshold={self.threshold}: give 0 (all alike) or more, in nats")
        if self.prompt and not all(name in self.prompt for name in FIELDS):
            raise ValueError(f"prompt={self.prompt!r}: give a text with {{question}} and {{answers}}, or ''")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        if self.prompt:
            raise BadInput("what a round is told of the last cannot be replayed; give prompt=''")
        drawn = 0
        for _ in range(self.rounds):
            drawn, before = min(drawn + self.n, len(samples)), drawn
            if drawn == len(samples) or entropy(samples[before:drawn]) <= self.threshold:
                break
        return replace(poll_among(samples, range(drawn)), used=drawn)

    async def __call__(self, root: Branch, /) -> Answer:
        answers: list[Answer] = []
        last: list[Answer] = []
        for number in range(self.rounds):
            start = await self._ask(root, last) if number and self.prompt else root
            if start is None:
                break
            last = await self._round(root, start, [] if self.prompt else answers, number)
            answers += last
            if entropy([sampled(a) for a in last]) <= self.threshold:
                break
        return elect(last if self.prompt else answers)

    async def _round(
        self, root: Branch, start: Branch, before: Sequence[Answer], number: int
    ) -> list[Answer]:
        """n answers from one place; a later round's first voice stands above an earlier round's vote."""
        ended: dict[int, Answer] = {}

        async def one(i: int, branch: Branch) -> Answer:
            ended[i] = await Once()(branch)
            root.offer(
                elect([*before, *(ended[k] for k in sorted(ended))]), rank=number * self.n + len(ended)
            )
            return ended[i]

        return await gather(*(one(i, branch) for i, branch in enumerate(start.fork(self.n))))

    async def _ask(self, root: Branch, last: Sequence[Answer]) -> Branch | None:
        """The question again, with what the last round said; None where that is too long for the context."""
        told = {"answers": "\n".join(a.final for a in last if a.final), "question": root.problem.prompt}
        text = re.sub(r"\{(answers|question)\}", lambda match: told[match[1]], self.prompt)
        tokens = root.place.tokenizer.chat([{"role": "user", "content": text}])
        return await root.open(tokens) if len(tokens) < root.place.context else None
