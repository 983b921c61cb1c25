"""Truncations of a next-token distribution: top-k, top-p, min-p. Logits [rows, vocab] in, -inf for what is
cut.

The likeliest token is always kept. Equal logits at a cut are kept together for top-k and min-p; top-p keeps
the earliest by token id, so that the set is the smallest whose mass reaches p.
"""

from __future__ import annotations

import math

import torch


def top_k(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Keep the k largest."""
    if k >= logits.shape[-1]:
        return logits
    edge = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < edge, -math.inf)


def top_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Keep the smallest set of likeliest tokens whose probabilities sum to at least p (Holtzman et al.,
    1904.09751)."""
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    before = ordered.to(torch.float64).softmax(-1).cumsum(-1).roll(1, -1)
    before[..., 0] = 0.0
    cut = (before >= p).scatter(-1, order, before >= p)
    return logits.masked_fill(cut, -math.inf)


def min_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """Keep tokens at least p times as likely as the likeliest (Nguyen et al., 2407.01082)."""
    edge = logits.amax(-1, keepdim=True) + math.log(p)
    return logits.masked_fill(logits < edge, -math.inf)
