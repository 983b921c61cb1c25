"""Draws in C where a Sampling asks for nothing but a temperature; all others as decode/sample.py makes them.

The tokens are the same ones: the noise is equal to the bit, and so are the sums it is part of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from outthink.core.jobs import Draw, Drawn, PassJob
from outthink.core.types import Sampling
from outthink.decode.sample import draw, warps_of
from outthink.decode.statistics import statistics
from outthink.kv.store import Store
from outthink.models.native import NativeModel, draw_plain


def is_plain(sampling: Sampling) -> bool:
    """Whether a temperature is all that stands between logits and noise."""
    cuts = sampling.top_k or sampling.top_p < 1 or sampling.min_p > 0
    return not cuts and not warps_of(sampling)


@dataclass(slots=True)
class NativeDraw:
    """`decode.sample.draw`, by kernels of a level where all draws share one plain Sampling."""

    level: str
    model: NativeModel | None = None  # whose threads it uses; None: as many as torch has
    seen: Sampling | None = None  # the last Sampling, and what it was found to be
    plain: bool = False

    def __call__(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        """One Drawn per Draw, in order. logits [rows, vocab]."""
        first = draws[0].sampling
        if not self._shares(draws) or logits.dtype != torch.float32:
            return draw(logits, draws)
        threads = (self.model.threads if self.model else 0) or torch.get_num_threads()
        found = draw_plain(self.level, logits, list(draws), first.temperature, threads)
        if not first.stats:
            return [Drawn(*one) for one in found]
        rows = logits[torch.tensor([d.row for d in draws])]
        stats = statistics(rows, first.stats)
        return [Drawn(token, logprob, some) for (token, logprob, _), some in zip(found, stats, strict=True)]

    def run_on(self, job: PassJob, store: Store) -> tuple[torch.Tensor, list[list[Drawn]], float] | None:
        """All steps of a job in one call: (their logits, what each drew, in what time); None if it cannot."""
        sampling = job.draws[0].sampling
        if self.model is None or sampling.stats or not self._shares(job.draws):
            return None
        return self.model.write(job.batch, store, job.draws, sampling.temperature, job.steps, job.ends)

    def _shares(self, draws: Sequence[Draw]) -> bool:
        """Whether all draws share one plain Sampling."""
        first = draws[0].sampling
        if first is not self.seen:
            self.seen, self.plain = first, is_plain(first)
        same = all(d.sampling is first or d.sampling == first for d in draws)
        return self.plain and same and not any(d.is_whole for d in draws)
