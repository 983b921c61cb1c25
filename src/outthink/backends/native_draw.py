"""Draws in C where a Sampling asks for nothing but a temperature; all others as decode/sample.py makes them.

The tokens are the same ones: the noise is equal to the bit, and so are the sums it is part of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from outthink.core.jobs import Draw, Drawn, PassJob, Read
from outthink.core.types import Dist, Sampling
from outthink.decode.sample import draw, draws_alike, in_groups, warps_of
from outthink.decode.statistics import read, statistics
from outthink.kv.store import Store
from outthink.models.native import NativeModel, draw_along, draw_plain, likeliest

LIKELIEST = 64  # so many at most are looked for in C


def is_plain(sampling: Sampling) -> bool:
    """Whether a temperature is all that stands between logits and noise."""
    cuts = sampling.top_k or sampling.top_p < 1 or sampling.min_p > 0
    return not cuts and not warps_of(sampling)


@dataclass(slots=True)
class NativeDraw:
    """`decode.sample.draw`, by kernels of a level where a Sampling is plain.

    Who draws is decided for each Sampling alone: the two round log-probabilities differently, and the bits of
    one draw may not depend on what else is drawn in the pass.
    """

    level: str
    model: NativeModel | None = None  # whose threads it uses; None: as many as torch has
    seen: Sampling | None = None  # the last Sampling, and what it was found to be
    plain: bool = False

    def __call__(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        """One Drawn per Draw, in order. logits [rows, vocab]."""
        first = draws[0].sampling
        if len(draws) == 1 or all(draws_alike(d.sampling, first) for d in draws):
            return self._group(logits, draws)
        return in_groups(logits, draws, self._group)

    def along(
        self, rows: Sequence[tuple[torch.Tensor, int]], draw: Draw, told: list[int], ends: bytes
    ) -> list[Drawn] | None:
        """Draws from one row after the other, each (logits [rows, vocab], which of them), as `Backend.again`
        has them; None if the draw is not plain."""
        sampling = draw.sampling
        if sampling.stats or draw.is_whole or not self._is_plain(sampling):
            return None
        if any(logits.dtype != torch.float32 or not logits.is_contiguous() for logits, _ in rows):
            return None
        return draw_along(self.level, rows, draw, sampling.temperature, told, ends)

    def _group(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        """Draws that share a Sampling."""
        first = draws[0].sampling
        if not self._is_plain(first) or logits.dtype != torch.float32:
            return draw(logits, draws)
        threads = (self.model.threads if self.model else 0) or torch.get_num_threads()
        found = draw_plain(self.level, logits, list(draws), first.temperature, threads)
        stats: Sequence[tuple[Any, ...]] = [()] * len(draws)
        if first.stats:
            stats = statistics(logits[torch.tensor([d.row for d in draws])], first.stats)
        drawn = [Drawn(token, logprob, some) for (token, logprob, _), some in zip(found, stats, strict=True)]
        whole = [i for i, d in enumerate(draws) if d.is_whole]
        if whole:
            for i, rows in zip(whole, draw(logits, [draws[i] for i in whole]), strict=True):
                drawn[i] = drawn[i]._replace(rows=rows.rows)
        return drawn

    def read(self, logits: torch.Tensor, reads: Sequence[Read]) -> list[Dist]:
        """One Dist per Read: the likeliest tokens alone in C, all else as decode/statistics.py does."""
        plain: dict[int, list[int]] = {}  # by how many: which reads
        if logits.dtype == torch.float32:
            for i, (_, want) in enumerate(reads):
                if 0 < want.top <= LIKELIEST and want.token is None and not (want.stats or want.row):
                    plain.setdefault(want.top, []).append(i)
        found: dict[int, Dist] = {}
        for count, which in plain.items():
            rows = list(
                dict.fromkeys([reads[i].row for i in which])
            )  # each once, however many readers it has
            tops = likeliest(self.level, logits, count, rows)
            by_row = dict(zip(rows, map(Dist, tops), strict=True))
            found.update({i: by_row[reads[i].row] for i in which})
        others = [i for i in range(len(reads)) if i not in found]
        if others:
            found.update(zip(others, read(logits, [reads[i] for i in others]), strict=True))
        return [found[i] for i in range(len(reads))]

    def run_on(self, job: PassJob, store: Store) -> tuple[torch.Tensor, list[list[Drawn]], float] | None:
        """All steps of a job in one call: (their logits, what each drew, in what time); None if it cannot."""
        first = job.draws[0].sampling
        if self.model is None or first.stats or not self._is_plain(first):
            return None
        if any(d.is_whole or not draws_alike(d.sampling, first) for d in job.draws):
            return None
        return self.model.write(job.batch, store, job.draws, first.temperature, job.steps, job.ends)

    def _is_plain(self, sampling: Sampling) -> bool:
        """`is_plain`, remembered for the last one."""
        if sampling is not self.seen:
            self.seen, self.plain = sampling, is_plain(sampling)
        return self.plain
