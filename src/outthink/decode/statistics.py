"""Statistics of a whole next-token distribution, reduced where the row is.

entropy      -sum p log p
varentropy   sum p (log p + entropy)^2
certainty    KL(uniform || p) = -log V - mean(log p): self-certainty (Kang et al., 2502.18581)
max          log of the largest probability
logz<t>      log sum p^(1/t), such as logz0.8: at temperature t a token has the log-probability
             log p / t - logz<t>
top<k>       (token, log-probability) of the k likeliest tokens, such as top5
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch

from outthink.core.errors import UnknownName
from outthink.core.jobs import Read
from outthink.core.types import Dist

NAMES = ("entropy", "varentropy", "certainty", "max")


def statistics(logits: torch.Tensor, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """For each row of logits [rows, vocab], the statistics in the order of `names`."""
    logp = logits.log_softmax(-1)
    columns = [_column(logp, name) for name in names]
    return list(zip(*columns, strict=True))


def _column(logp: torch.Tensor, name: str) -> list[Any]:
    """One value a row: a number, or the pairs of a top list."""
    most = re.fullmatch(r"top(\d+)", name)
    if most is None:
        values: list[Any] = _one(logp, name).tolist()
        return values
    best = logp.topk(min(int(most[1]), logp.shape[-1]))
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [tuple(zip(tokens, logps, strict=True)) for tokens, logps in rows]


def _one(logp: torch.Tensor, name: str) -> torch.Tensor:
    if name == "certainty":
        return -logp.mean(-1) - math.log(logp.shape[-1])
    if name == "max":
        return logp.amax(-1)
    if name.startswith("logz"):
        return (logp.double() / float(name[4:])).logsumexp(-1)
    p = logp.exp()
    weighted = torch.where(p > 0, p * logp, torch.zeros_like(p))
    entropy = -weighted.sum(-1)
    if name == "entropy":
        return entropy
    if name == "varentropy":
        spread = torch.where(p > 0, p * (logp + entropy[:, None]) ** 2, torch.zeros_like(p))
        return spread.sum(-1)
    raise UnknownName("statistic", name, NAMES)


def read(logits: torch.Tensor, reads: Sequence[Read]) -> list[Dist]:
    """One Dist per Read: rows reduced to what is wanted, each once, however many readers it has."""
    if not reads:
        return []
    keys = [(r.row, id(r.want)) for r in reads]
    known = dict(zip(keys, reads, strict=True))
    distinct = sorted(known)  # so rows that are all wanted lie in order
    found = dict(zip(distinct, _read(logits, [known[key] for key in distinct]), strict=True))
    return [found[key] for key in keys]


def _read(logits: torch.Tensor, reads: Sequence[Read]) -> list[Dist]:
    rows = [r.row for r in reads]
    if rows != list(range(logits.shape[0])):
        logits = logits[torch.tensor(rows, device=logits.device)]
    logp = logits.log_softmax(-1)
    wants, tops = [r.want for r in reads], _tops(logp, [r.want.top for r in reads])
    known = [(i, want.token) for i, want in enumerate(wants) if want.token is not None]
    logprobs: dict[int, float] = {}
    if known:
        places, tokens = zip(*known, strict=True)
        logprobs = dict(zip(places, logp[list(places), list(tokens)].tolist(), strict=True))
    return [
        Dist(
            tops.get(i, ()),
            logprobs.get(i),
            {name: float(_one(logp[i : i + 1], name)[0]) for name in want.stats} if want.stats else {},
            tuple(logp[i].tolist()) if want.row else None,
        )
        for i, want in enumerate(wants)
    ]


def _tops(logp: torch.Tensor, counts: Sequence[int]) -> dict[int, tuple[tuple[int, float], ...]]:
    """By row, the so many likeliest tokens: all rows that want as many at once."""
    found: dict[int, tuple[tuple[int, float], ...]] = {}
    for k in set(counts) - {0}:
        rows = [i for i, count in enumerate(counts) if count == k]
        best = (logp if len(rows) == len(counts) else logp[rows]).topk(min(k, logp.shape[1]))
        for i, tokens, values in zip(rows, best.indices.tolist(), best.values.tolist(), strict=True):
            found[i] = tuple(zip(tokens, values, strict=True))
    return found


def read_states(states: torch.Tensor, reads: Sequence[Read]) -> list[Dist]:
    """One Dist per Read with the hidden state of its row. states [rows, width]."""
    return [Dist(hidden=tuple(states[r.row].tolist())) for r in reads]
