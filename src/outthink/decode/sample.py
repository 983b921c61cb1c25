"""Draw tokens from rows of logits: warps, temperature, truncation, Gumbel-max. One call for all rows of a
pass.

    token = argmax over v of  warped(logits)[v] / temperature + gumbel(key, index, v)        temperature 0:
    no noise

Log-probabilities and statistics are of the model's own distribution, before warps and temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from outthink.core.jobs import Draw, Drawn
from outthink.core.protocols import Warp
from outthink.core.rng import GUMBEL_MAX, GUMBEL_MIN
from outthink.core.types import Sampling
from outthink.decode import noise, truncate
from outthink.decode.penalties import LogitBias, Penalties
from outthink.decode.statistics import statistics

NO_PENALTIES = (1.0, 0.0, 0.0)  # repetition, presence, frequency
DENSE = 4096  # up to this vocabulary noise is computed for every token; above it for those that could win


def warps_of(sampling: Sampling) -> tuple[Warp, ...]:
    """The warps that a Sampling stands for, in the order in which they apply."""
    found: list[Warp] = list(sampling.warps)
    if sampling.logit_bias:
        found.append(LogitBias(sampling.logit_bias))
    given = sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty
    if given != NO_PENALTIES:
        found.append(Penalties(*given))
    return tuple(found)


def draws_alike(one: Sampling, other: Sampling) -> bool:
    """Whether both draw the same from the same row: all but when to stop is the same."""
    return one is other or _law(one) == _law(other)


def _law(sampling: Sampling) -> tuple[Any, ...]:
    """What a draw depends on."""
    return (
        *(sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.stats),
        *(sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty),
        *(sampling.logit_bias, sampling.warps),
    )


def draw(logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
    """One Drawn per Draw, in order. logits [rows, vocab], float32 or float64."""
    first = draws[0].sampling
    if all(draws_alike(d.sampling, first) for d in draws):
        return _draw_group(logits, draws)
    return in_groups(logits, draws, _draw_group)


def in_groups(
    logits: torch.Tensor,
    draws: Sequence[Draw],
    group: Callable[[torch.Tensor, Sequence[Draw]], list[Drawn]],
) -> list[Drawn]:
    """Draw for each group of Samplings that draw alike, in order."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, d in enumerate(draws):
        groups.setdefault(_law(d.sampling), []).append(i)
    out: dict[int, Drawn] = {}
    for members in groups.values():
        out.update(zip(members, group(logits, [draws[i] for i in members]), strict=True))
    return [out[i] for i in range(len(draws))]


def _draw_group(logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
    sampling = draws[0].sampling
    rows = [d.row for d in draws]
    if rows != list(range(logits.shape[0])):
        logits = logits[torch.tensor(rows, device=logits.device)]
    warped = warp(logits, sampling, [d.states for d in draws])
    chosen = _choose_dense if logits.device.type == "cpu" and logits.shape[1] <= DENSE else _choose
    tokens, logprobs = chosen(logits, warped, draws)
    stats = statistics(logits, sampling.stats) if sampling.stats else [()] * len(draws)
    drawn = [Drawn(t, p, s) for t, p, s in zip(tokens, logprobs, stats, strict=True)]
    if any(d.is_whole for d in draws):
        last = _certain(warped, tokens) if sampling.temperature == 0 else warped
        both = zip(_log_probabilities(logits), _log_probabilities(last), strict=True)
        drawn = [d._replace(rows=rows) for d, rows in zip(drawn, both, strict=True)]
    return drawn


def _certain(warped: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Rows in which one token has all probability: what temperature 0 draws from."""
    index = torch.tensor(tokens, device=warped.device)[:, None]
    return torch.full_like(warped, -math.inf).scatter(1, index, 0.0)


def _log_probabilities(logits: torch.Tensor) -> list[Any]:
    """Rows as numpy arrays in float64."""
    return list(logits.to(torch.float64).log_softmax(-1).cpu().numpy())


def _choose(
    logits: torch.Tensor, warped: torch.Tensor, draws: Sequence[Draw]
) -> tuple[list[int], list[float]]:
    """Tokens by argmax, with noise unless the temperature is 0, and their log-probabilities."""
    tokens = warped.argmax(-1) if draws[0].sampling.temperature == 0 else _noisy_argmax(warped, draws)
    logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
    return tokens.tolist(), logprobs.tolist()


def _choose_dense(
    logits: torch.Tensor, warped: torch.Tensor, draws: Sequence[Draw]
) -> tuple[list[int], list[float]]:
    """The same in numpy, whose calls and argmax cost a fraction of torch's on small vocabularies."""
    rows, scores = logits.numpy(), warped.numpy()
    if draws[0].sampling.temperature == 0:
        tokens = scores.argmax(-1)
    else:
        tokens = noise.argmax(scores, [d.key for d in draws], [d.position for d in draws])
    shifted = rows - rows.max(-1, keepdims=True)
    logprobs = shifted[np.arange(len(draws)), tokens] - np.log(np.exp(shifted).sum(-1))
    return tokens.tolist(), logprobs.tolist()


def warp(logits: torch.Tensor, sampling: Sampling, states: Sequence[tuple[Any, ...]]) -> torch.Tensor:
    """All warps, temperature and truncations of a Sampling: the logits that a draw is made from."""
    if sampling.warps:
        logits = logits.clone()  # others' code may write on it, and rows of logits are kept
    for i, one in enumerate(warps_of(sampling) if states and states[0] else ()):
        logits = one(logits, [s[i] for s in states])
    if sampling.temperature not in (0, 1):
        logits = logits / sampling.temperature
    if sampling.top_k:
        logits = truncate.top_k(logits, sampling.top_k)
    if sampling.top_p < 1:
        logits = truncate.top_p(logits, sampling.top_p)
    if sampling.min_p > 0:
        logits = truncate.min_p(logits, sampling.min_p)
    return logits


def _noisy_argmax(warped: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    device, vocab = str(warped.device), warped.shape[1]
    keys, indices = [d.key for d in draws], [d.position for d in draws]
    if vocab <= DENSE:
        return (warped + noise.rows(keys, indices, vocab, device)).argmax(-1)
    # noise lies in [GUMBEL_MIN, GUMBEL_MAX]: a token further below the best than that range cannot win
    edge = warped.amax(-1, keepdim=True) - (GUMBEL_MAX - GUMBEL_MIN)
    row, item = (warped >= edge).nonzero(as_tuple=True)
    noisy = torch.full_like(warped, -math.inf)
    noisy[row, item] = warped[row, item] + noise.entries(keys, indices, row, item, vocab)
    return noisy.argmax(-1)
