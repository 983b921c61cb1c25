"""How close a draw was: the smallest change of a logit that alters it.

    margin = min(gap, slack)
    gap    = temperature * (best - second best) of  warped / temperature + noise   (temperature 0: of warped)
    slack  = how far the nearest token is from crossing a cut:
             top-k   the k-th logit less the next
             top-p   |mass before a token - p|, the least over all tokens
             min-p   |logit - edge|, the least over all tokens

A change of one logit by d moves a mass by at most d / 4, so slack is never too large. Texts that part at a
margin below the error of the arithmetic part by rounding; above it, something is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from outthink.core.jobs import Draw
from outthink.core.types import Sampling
from outthink.decode import noise, truncate
from outthink.decode.sample import warps_of


def margin(logits: Sequence[float] | torch.Tensor, draw: Draw) -> float:
    """The margin of drawing `draw` from `logits` [vocab]; inf where one token alone is left."""
    sampling, row = draw.sampling, torch.as_tensor(logits, dtype=torch.float64)[None]
    slacks = [math.inf]
    for i, warp in enumerate(warps_of(sampling)):
        own = getattr(warp, "slack", None)
        if own is not None:
            slacks.append(float(own(row, [draw.states[i]])))
        row = warp(row, [draw.states[i]])
    temperature = sampling.temperature or 1.0
    row = row / temperature
    for slack, cut in _cuts(row, sampling):
        slacks.append(slack)
        row = cut
    if sampling.temperature:
        row = row + noise.rows([draw.key], [draw.position], row.shape[1]).to(row)
    first, second = row[0].topk(2).values.tolist()
    return float(min(first - second, *slacks)) * temperature


def _cuts(row: torch.Tensor, sampling: Sampling) -> Iterator[tuple[float, torch.Tensor]]:
    """(slack, row after it) of each truncation, in the order in which they apply."""
    if 0 < sampling.top_k < row.shape[1]:
        best = row[0].topk(sampling.top_k + 1).values
        row = truncate.top_k(row, sampling.top_k)
        yield float(best[-2] - best[-1]), row
    if sampling.top_p < 1:
        ordered = row[0].sort(descending=True, stable=True).values.softmax(-1).cumsum(-1)
        row = truncate.top_p(row, sampling.top_p)
        yield float((ordered - sampling.top_p).abs().min()), row
    if sampling.min_p > 0:
        edge = row[0].max() + math.log(sampling.min_p)
        alive = row[0][row[0] > -math.inf]
        row = truncate.min_p(row, sampling.min_p)
        yield float((alive - edge).abs().min()), row
