"""Self-consistency with pruning: solutions that say nothing new are given up while they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from outthink.core.branch import Branch
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._chunks import Writing
from outthink.strategy._select import need_positive
from outthink.strategy.vote import elect


def weighted_cover(
    sets: Sequence[AbstractSet[int]], weights: Sequence[float], free: Sequence[int], share: float = 1.0
) -> list[int]:
    """Which sets cover at least `share` of the union of all, greedily; those in `free` are taken first.

    Repeat: take argmax over sets of weight * (elements that are new), ties to the first. At least one set is
    chosen.
    """
    everything: set[int] = set().union(*sets)
    chosen = list(free)
    covered: set[int] = set().union(*(sets[i] for i in free))
    while not chosen or len(covered) < share * len(everything) - 1e-9:
        left = [i for i in range(len(sets)) if i not in chosen]
        best = max(left, key=lambda i: (weights[i] * len(sets[i] - covered), -i))
        chosen.append(best)
        covered |= sets[best]
    return sorted(chosen)


@dataclass(frozen=True)
class SetCover:
    """Write n solutions side by side; after every `every` tokens keep only those that cover what all say.

    Each round: the tokens of all solutions so far are the universe; ended solutions cover theirs for free; of
    the others a greedy weighted set cover keeps the few that cover `cover` of the universe, a solution's
    weight being the model's confidence in it, exp(mean log-probability a token). The others are killed.
    Those that reach their end vote. cover=1 gives up only what others say too. Where texts are about as short
    as `every`, those that cover the most are not the likely ones. Sultan and Fernandez Astudillo,
    "Confidence-Weighted Token Set Cover for Early Hypothesis Pruning in Self-Consistency", arXiv 2508.03979;
    `every` is ours.
    """

    n: int = 8
    every: int = 256
    cover: float = 1.0

    needs = Can.GENERATE | Can.LOGPROBS
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        need_positive(self.n)
        if self.every < 1:
            raise ValueError(f"every={self.every}: give at least 1 token")
        if not 0 < self.cover <= 1:
            raise ValueError(f"cover={self.cover}: give a share above 0, at most 1")

    async def __call__(self, root: Branch, /) -> Answer:
        kept = dict(enumerate(map(Writing, root.fork(self.n))))
        ended: dict[int, Answer] = {}

        async def one(i: int) -> None:
            await kept[i].go_on(self.every)
            if kept[i].reason:
                ended[i] = kept[i].answer()
                root.offer(elect([ended[k] for k in sorted(ended)]), rank=len(ended))

        while len(ended) < len(kept):
            await gather(*(one(i) for i in sorted(kept) if i not in ended))
            kept = self._prune(kept)
        return elect([ended[k] for k in sorted(ended)])

    def _prune(self, kept: dict[int, Writing]) -> dict[int, Writing]:
        """What is left when all have said what they said so far; the branches of the others are closed."""
        entries = list(kept.items())
        branches = [writing.branch for _, writing in entries]
        ended = [at for at, (_, writing) in enumerate(entries) if writing.reason]
        confidences = [math.exp(branch.logprob / max(1, len(branch.logps))) for branch in branches]
        chosen = weighted_cover([set(b.tokens) for b in branches], confidences, ended, self.cover)
        for at in set(range(len(entries))) - set(chosen):
            branches[at].close()
        return {entries[at][0]: entries[at][1] for at in chosen}
