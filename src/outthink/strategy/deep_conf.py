"""DeepConf: kill a trace as soon as the model loses confidence in it, and let confidence weigh the votes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from outthink.core.branch import Branch
from outthink.core.errors import BadInput
from outthink.core.samples import Choice, Sampled
from outthink.core.tasks import gather
from outthink.core.types import Answer, Can
from outthink.spec import show
from outthink.strategy._chunks import Writing
from outthink.strategy._select import is_blank, poll, poll_among, sampled, settle

STAT = "certainty"


def group_confidences(values: Sequence[float], window: int) -> list[float]:
    """The mean of every `window` values in a row; of all there are, if they are fewer; of none, none."""
    width = min(window, len(values))
    return [math.fsum(values[i : i + width]) / width for i in range(len(values) - width + 1) if width]


def quantile(values: Sequence[float], share: float) -> float:
    """The largest value that at least `share` of the values reach."""
    ordered = sorted(values, reverse=True)
    return ordered[math.ceil(share * len(ordered) - 1e-9) - 1]


@dataclass(frozen=True)
class DeepConf:
    """Write `warmup` traces in full; kill each later one when its confidence falls below what `keep` of these
    held; the others vote, each with its lowest confidence.

    confidence of a token = KL(uniform || p) = -log V - mean of log p over the vocabulary
    group confidence = its mean over `window` tokens in a row
    threshold = the largest value that the lowest group confidence of `keep` of the warm-up reaches
    killed: a later trace with a full window below the threshold, looked at every `check` tokens
    answer = argmax over classes of the sum of lowest group confidences, those below the threshold left out

    The paper's token confidence is that of the 20 likeliest tokens, which is what a remote server tells; here
    it is that of all V, which differs from the paper's formula with k = V by the constant log V. The paper's
    groups of 2048 tokens and 16 warm-up traces are for long reasoning, the defaults here for short texts; its
    second rule, to sample no more once the votes agree, is that of `adaptive_vote`. Fu et al., "Deep Think
    with Confidence".
    """

    n: int = 16
    warmup: int = 4
    keep: float = 0.9
    window: int = 16
    check: int = 8

    needs = Can.GENERATE | Can.STATS
    is_sequential = True
    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        if not 1 <= self.warmup <= self.n:
            raise ValueError(f"warmup={self.warmup}, n={self.n}: give 1 <= warmup <= n")
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep={self.keep}: give a share above 0, at most 1")
        if self.window < 1 or self.check < 1:
            raise ValueError(f"window={self.window}, check={self.check}: give at least 1 token")

    def select(self, samples: Sequence[Sampled], /) -> Choice:
        traces = [self._values(s) for s in samples]
        lowest = [min(group_confidences(trace, self.window), default=-math.inf) for trace in traces]
        threshold = quantile(lowest[: self.warmup], self.keep)
        written = sum(map(len, traces[: self.warmup]))
        written += sum(self._length(trace, threshold) for trace in traces[self.warmup :])
        heard = [i for i, value in enumerate(lowest) if threshold <= value > -math.inf]
        if not heard:  # no text is left of any: they began with a stop
            return replace(poll(samples), written=written)
        return replace(poll_among(samples, heard, [lowest[i] for i in heard]), written=written)

    async def __call__(self, root: Branch, /) -> Answer:
        root.record(STAT)
        ended: dict[int, Answer] = {}

        async def one(i: int, branch: Branch, threshold: float) -> None:
            writing = Writing(branch)
            while not writing.reason:
                await writing.go_on(self.check)
                if self._dip(branch.stats[STAT], threshold) is not None:
                    branch.close()
                    return
            ended[i] = writing.answer()
            root.offer(self._elect(ended), rank=len(ended))

        branches = root.fork(self.warmup)
        await gather(*(one(i, b, -math.inf) for i, b in enumerate(branches)))
        traces = [self._values(sampled(a)) for a in ended.values()]
        lowest = [min(group_confidences(trace, self.window), default=-math.inf) for trace in traces]
        threshold = quantile(lowest, self.keep)
        if self.n > self.warmup:
            branches = root.fork(self.n - self.warmup)
            await gather(*(one(self.warmup + i, b, threshold) for i, b in enumerate(branches)))
        return self._elect(ended)

    def _elect(self, ended: dict[int, Answer]) -> Answer:
        """The vote of what has ended, in the order of the samples."""
        return settle([ended[i] for i in sorted(ended)], self.select)

    def _values(self, sample: Sampled) -> list[float]:
        """The confidence of each token; BadInput where nobody recorded it."""
        values = [v for v in sample.stats.get(STAT, ()) if not math.isnan(v)]
        if not values and not is_blank(sample):
            raise BadInput(f"a sample has no {STAT!r} of its tokens")
        return values

    def _dip(self, values: Sequence[float], threshold: float) -> int | None:
        """After how many tokens a full window first lies below the threshold; None if none does."""
        groups = group_confidences(values, self.window) if len(values) >= self.window else []
        return next((i + self.window for i, value in enumerate(groups) if value < threshold), None)

    def _length(self, values: Sequence[float], threshold: float) -> int:
        """How many tokens of a later trace are written."""
        dip = self._dip(values, threshold)
        return len(values) if dip is None else min(len(values), -(-dip // self.check) * self.check)
