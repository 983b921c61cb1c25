"""ModelSwitch: a cheap model first, the next one only where its answers disagree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.errors import PromptTooLong
from outthink.core.samples import Choice, Sampled
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._select import members, need_positive, poll, sampled, settle
from outthink.strategy.once import Once


def agreement(samples: Sequence[Sampled]) -> float:
    """The share of the largest class of answers."""
    return max(map(len, members(samples)), default=0) / len(samples)


def consistency(samples: Sequence[Sampled]) -> float:
    """1 - H / log(n + 1), H the entropy of the classes' shares, a missing answer a class of its own.

    1 for one voice, above 0 always.
    """
    groups = [len(group) for group in members(samples)]
    sizes = groups + [1] * (len(samples) - sum(groups))
    entropy = -math.fsum(s / len(samples) * math.log(s / len(samples)) for s in sizes)
    return 1 - entropy / math.log(len(samples) + 1)


@dataclass(frozen=True)
class ModelSwitch:
    """Sample n answers from this model; where they agree, that is it, else sample n from the next, and so on.

    A model's samples agree if the largest class has a share of at least `agree`. If no model's do, all vote,
    each with the consistency of its model: 1 - H(answers of the model) / log(n + 1). `models` are the names
    of the models to go on with, in this order; the engine must have them. Under replay, models are the
    recorded systems in the order in which they come. Chen et al., "Do We Truly Need So Many Samples?
    Multi-LLM Repeated Sampling Efficiently Scales Test-Time Compute".
    """

    models: tuple[str, ...] = ()
    n: int = 4
    agree: float = 1.0

    needs = Can.GENERATE
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        need_positive(self.n)
        if not 0 < self.agree <= 1:
            raise ValueError(f"agree={self.agree}: give a share above 0, at most 1")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        weights: list[float] = [0.0] * len(samples)
        used = 0
        for system in dict.fromkeys(s.system for s in samples):
            places = [i for i, s in enumerate(samples) if s.system == system]
            own = [samples[i] for i in places]
            used += len(own)
            if agreement(own) >= self.agree:
                weights = [float(i in places) for i in range(len(samples))]
                break
            for i in places:
                weights[i] = consistency(own)
        return replace(poll(samples, weights), used=used)

    async def __call__(self, root: Branch, /) -> Answer:
        for name in self.models:
            root.run.place(name)  # an unknown name is said before a token is spent
        answers: list[Answer] = []
        for model in (None, *self.models):
            start = await self._open(root, model)
            if start is None:
                continue
            own = await self._ask(root, start, answers)
            answers += own
            if agreement([sampled(a) for a in own]) >= self.agree:
                break
        return settle(answers, self.select)

    async def _ask(self, root: Branch, start: Branch, before: Sequence[Answer]) -> list[Answer]:
        """n answers of one model."""
        ended: dict[int, Answer] = {}

        async def one(i: int, branch: Branch) -> Answer:
            ended[i] = await Once()(branch)
            so_far = [*before, *(ended[k] for k in sorted(ended))]
            root.offer(settle(so_far, self.select), rank=len(so_far))
            return ended[i]

        return await gather(*(one(i, branch) for i, branch in enumerate(start.fork(self.n))))

    async def _open(self, root: Branch, model: str | None) -> Branch | None:
        """The question, asked of another model in its own chat template; None, said on the receipt, where it
        does not fit that model's context."""
        if model is None:
            return root
        try:
            return await root.ask(root.problem.prompt, model)
        except PromptTooLong as error:
            root.degrade("model_switch", f"{model} was not asked: {error}")
            return None
