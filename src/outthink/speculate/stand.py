"""Stand: n-grams that keep the model's probabilities, from all trajectories, drawn from by Gumbel-top-k."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from outthink.core.draft import Draft
from outthink.core.drafting import Outcome, Studio, Tip
from outthink.spec import show
from outthink.speculate._noise import Noise, informed, noise_of
from outthink.speculate._rates import BINS, Rates, bin_of, bins
from outthink.speculate._trees import Child, Shape, check_shape, draws, grow

VISITS = 2  # distributions of one context that are averaged, the latest
DOUBT = 0.1  # an n-gram is less of a context than the model's: its sure distributions are too sure
WIDTHS = (3, 2, 1, 1)  # of trees that are drawn where no fixed shape is given
LONGEST = 16  # tokens of a context: a row is kept for each length
MOST_TOKENS = 64  # of a distribution that is kept
MOST = 1 << 15  # contexts; beyond them the half that was met first is forgotten
ENTRY = 150  # bytes that a context takes, apart from its distributions
PAIR = 88  # and a token of a distribution

Top = Sequence[tuple[int, float]]  # tokens with their log-probabilities, likeliest first


@dataclass(frozen=True)
class Stand:
    """Keep the model's own distribution after every n-gram it met, in all branches, and draw drafts from it.

        table[last 1 .. order tokens] = the k likeliest tokens of its latest 2 rows, averaged
        q = the entry of the longest context known, at the sampling's temperature
        guess = Gumbel-top-k of q, without replacement, as a tree

    Under a rule that draws by the target's noise (match) that very noise is used, and the n likeliest nodes
    are kept; under one that weighs draws siblings are drawn by chance of their own, in a fixed shape, and the
    draft says from what. The paper fits one tree to data beforehand and averages all visits; here the tree is
    fitted in every step, and the latest 2 rows count. Song et al., "Accelerated Test-Time Scaling with
    Model-Free Speculative Sampling".
    """

    n: int = 12
    order: int = 3
    k: int = 4
    depth: int = 8
    shape: Shape = "best_nodes"

    remote_safe = True
    __repr__ = show

    def __post_init__(self) -> None:
        check_shape(self.shape, self.n)
        if min(self.order, self.k, self.depth) < 1:
            raise ValueError(f"order={self.order}, k={self.k}, depth={self.depth}: give at least 1")
        if self.order > LONGEST or self.k > MOST_TOKENS:
            raise ValueError(
                f"order={self.order}, k={self.k}: give order of at most {LONGEST}, k of at most {MOST_TOKENS}"
            )

    def open(self, studio: Studio) -> StandSource:
        return StandSource(self, studio)


State = tuple[tuple[int, ...], int]  # the last tokens, and the position that is guessed next


class StandSource:
    """The table of contexts, shared by all branches of a run."""

    name = "stand"

    def __init__(self, config: Stand, studio: Studio) -> None:
        self.config, self.studio = config, studio
        self.tops = min(config.k, studio.vocab)
        self.table: dict[tuple[int, ...], list[Top]] = {}
        self.merged: dict[tuple[int, ...], tuple[float, list[tuple[int, float]]]] = {}
        self.rates = Rates(bins(config.order))
        self.count = 0

    def propose(self, tip: Tip, depth: int, nodes: int) -> Draft | None:
        config = self.config
        position = len(tip.tokens)
        root = (tuple(tip.tokens[-config.order :]), position)
        if root[0][-1:] not in self.table:
            return None
        depth, nodes = min(depth, config.depth), min(nodes, config.n)
        noise = tip.local[self][0] if self in tip.local else noise_of(tip, self.studio)
        expand = Expander(self, tip.sampling.temperature, noise)
        if self.studio.shares_noise or tip.sampling.temperature == 0:
            guess = grow(config.shape, expand, root, depth, nodes, self.name)
        else:
            widths = (1,) * depth if config.shape == "chain" else config.shape
            widths = WIDTHS if isinstance(widths, str) else widths
            chance, index = self.studio.chance(tip), position * 128
            guess = draws(widths[:depth], expand, root, nodes, self.name, chance, index)
        tip.local[self] = (noise, guess)
        return guess.draft if guess else None

    def observe(self, tip: Tip, outcome: Outcome) -> None:
        noise, guess = tip.local.get(self, (None, None))
        if guess is not None:
            self.rates.settle(outcome, guess)
            tip.local[self] = (noise, None)
        order, draft = self.config.order, outcome.draft
        upto = len(tip.tokens) - len(outcome.tokens)
        contexts = {-1: tuple(tip.tokens[max(upto - order, 0) : upto])}
        if draft is not None:
            for node, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
                contexts[node] = (*contexts[parent], token)[-order:]
        for node, top in outcome.tops.items():
            self._hear(contexts[node], top)

    def _hear(self, context: tuple[int, ...], top: Top) -> None:
        table, merged = self.table, self.merged
        for cut in range(len(context)):
            key = context[cut:]
            found = table.get(key)
            if found is None:
                table[key] = [top]
                self.count += len(top)
                if len(table) > MOST:
                    self._forget()
            else:
                merged.pop(key, None)
                found.append(top)
                if len(found) > VISITS:
                    del found[0]
                else:
                    self.count += len(top)

    def _forget(self) -> None:
        for key in list(islice(self.table, MOST // 2)):
            self.count -= sum(map(len, self.table.pop(key)))
            self.merged.pop(key, None)

    def end(self, tip: Tip) -> None:
        pass

    def after(self, context: tuple[int, ...], temperature: float) -> tuple[int, list[tuple[int, float]]]:
        """(length, distribution) of the longest known end of a context; (0, []) for none."""
        for cut in range(len(context)):
            key = context[cut:]
            known = self.merged.get(key)
            if known is not None and known[0] == temperature:
                return len(key), known[1]
            if key in self.table:
                likely = _average(self.table[key], self.tops)
                if temperature > 0:
                    likely = _tempered(likely, 1 / temperature)
                self.merged[key] = (temperature, likely)
                return len(key), likely
        return 0, []

    @property
    def state_bytes(self) -> float:
        return float(len(self.table) * ENTRY + self.count * PAIR)


class Expander:
    """What may come next after a context; kinds of guess are (length of the context, how likely it says)."""

    __slots__ = ("source", "temperature", "noise")

    def __init__(self, source: StandSource, temperature: float, noise: Noise | None) -> None:
        self.source, self.temperature, self.noise = source, temperature, noise

    def __call__(self, state: State) -> list[Child]:
        source, (context, position) = self.source, state
        length, likely = source.after(context, self.temperature)
        if not likely:
            return []
        is_drawn = self.noise is None and self.temperature > 0
        likely = informed(likely, self.noise, position)
        base, mean = (length - 1) * BINS, source.rates.mean
        order, out = source.config.order, []
        for token, p in likely:
            kind = base + bin_of(p)
            below = ((*context, token)[-order:], position + 1)
            out.append((token, p if is_drawn else mean[kind], kind, below))
        return out


def _average(tops: list[Top], k: int) -> list[tuple[int, float]]:
    """The k likeliest tokens of the mean of some distributions."""
    if len(tops) == 1:
        return [(token, math.exp(logp)) for token, logp in tops[0] if logp > -math.inf]
    total: dict[int, float] = {}
    for top in tops:
        for token, logp in top:
            total[token] = total.get(token, 0.0) + math.exp(logp)
    likely = sorted(total.items(), key=lambda entry: -entry[1])[:k]
    return [(token, p / len(tops)) for token, p in likely if p > 0]


def _tempered(likely: list[tuple[int, float]], power: float) -> list[tuple[int, float]]:
    """p ** power, what is not listed taken as one token; a share of DOUBT goes by rank alone.

    In units of the largest, so that no power is too small or too large for a number.
    """
    rest = max(1.0 - sum(p for _, p in likely), 0.0)
    unit = max(rest, max(p for _, p in likely))
    raised = [(token, (p / unit) ** power) for token, p in likely]
    total = (sum(p for _, p in raised) + (rest / unit) ** power) / (1 - DOUBT)
    return [(token, p / total + DOUBT * 0.5 ** (rank + 1)) for rank, (token, p) in enumerate(raised)]
