"""Block verification: judge the drafted tokens together, so that more of them are kept on average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from outthink.core.draft import Draft
from outthink.core.drafting import Accepted, Target
from outthink.core.rng import Chance
from outthink.spec import show
from outthink.speculate.rules._rows import Row, draft_row, first_path, pick, residual, target_row


@dataclass(frozen=True)
class Block:
    """Keep the longest prefix of the chain x_1 .. x_n whose own coin falls well; coins see whole prefixes.

        w_0 = 1;  w_i = min(1, w_(i-1) p_i(x_i) / q_i(x_i))
        h_i = s_i / (s_i + 1 - w_i),  s_i = sum of max(w_i p_(i+1) - q_(i+1), 0);  h_n = w_n
        t = the largest i whose coin of probability h_i is heads
        the next token: from p_(n+1) where t = n, else from max(w_t p_(t+1) - q_(t+1), 0)

    Keeps at least as many tokens as `rejection` on average, and writes the model's own distribution. For
    chains: of a tree it reads the first child of each node. What holds for `rejection` of drafts, noise and
    seeds holds here. Sun et al., "Block Verification Accelerates Speculative Decoding".
    """

    lossless = True
    reads_rows = True
    __repr__ = show

    def __call__(
        self, target: Target, draft: Draft, chance: Callable[[str], Chance], position: int
    ) -> Accepted:
        chain = first_path(draft)
        seen = [node for node in chain if target.has(node)]
        chain = chain[
            : len(seen) + 1
        ]  # the pass had no room beyond: the last is judged but not looked beyond
        p = [target_row(target, node) for node in (-1, *seen)]
        q = [draft_row(draft, node, len(p[0])) for node in chain]
        weights, coins = _prefixes([draft.tokens[node] for node in chain], p, q)
        accept, kept = chance("accept"), 0
        for i, heads in enumerate(coins, 1):
            if accept.flip(heads, position, i):
                kept = i
        index, draw = position + kept, chance("token")
        if kept < len(chain):
            token = pick(draw, residual(weights[kept] * p[kept], q[kept]), index)
        elif kept < len(p):
            token = pick(draw, p[kept], index)
        else:
            return Accepted(tuple(chain[: kept - 1]), draft.tokens[chain[-1]])
        return Accepted(tuple(chain[:kept]), token)


def _prefixes(tokens: list[int], p: list[Row], q: list[Row]) -> tuple[list[float], list[float]]:
    """([w_0 .. w_n], [h_1 .. h_n])."""
    weights, coins = [1.0], []
    for i, token in enumerate(tokens):
        weight = min(1.0, weights[-1] * float(p[i][token]) / max(float(q[i][token]), 1e-300))
        weights.append(weight)
        if i + 1 == len(tokens):
            coins.append(weight)
            break
        left = float(np.maximum(weight * p[i + 1] - q[i + 1], 0.0).sum())
        coins.append(left / (left + 1.0 - weight) if weight < 1.0 else 1.0)
    return weights, coins
