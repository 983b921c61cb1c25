"""A draft: tokens that may come next, as a tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Draft:
    """A token tree below a tip: parents first, -1 is the tip.

    `parents[i] < i`. A chain is parents = (-1, 0, 1, ...). `conf[i]` is how likely the drafter holds node i
    to be accepted once its parent is; `dists[i]` the log-probabilities that node i was drawn from, for rules
    that weigh them. Both are empty where they are not known. Lists are copied: their owner may use them
    again. Raises ValueError for anything else.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    conf: tuple[float, ...] = ()
    dists: tuple[Any, ...] = ()
    by: str = ""  # the drafter

    def __post_init__(self) -> None:
        for name in ("tokens", "parents", "conf", "dists"):
            if type(getattr(self, name)) is not tuple:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        n = len(self.tokens)
        if len(self.parents) != n:
            raise ValueError(f"a draft of {n} tokens has {len(self.parents)} parents")
        if len(self.conf) not in (0, n) or len(self.dists) not in (0, n):
            raise ValueError(f"a draft of {n} tokens has {len(self.conf)} conf and {len(self.dists)} dists")
        for i, parent in enumerate(() if self.is_chain else self.parents):
            if not -1 <= parent < i:
                raise ValueError(f"draft node {i} has parent {parent}; parents come first, -1 is the tip")

    @classmethod
    def chain(cls, tokens: Sequence[int], conf: Sequence[float] = (), by: str = "") -> Draft:
        return cls(tuple(tokens), tuple(range(-1, len(tokens) - 1)), tuple(conf), by=by)

    @property
    def is_chain(self) -> bool:
        """Whether every node is the parent of the next."""
        return self.parents == tuple(range(-1, len(self.parents) - 1))

    def keep(self, nodes: Sequence[int]) -> Draft:
        """The same with only these nodes, ascending, each with its parent among them."""
        place = {node: i for i, node in enumerate(nodes)} | {-1: -1}
        return Draft(
            tuple(self.tokens[i] for i in nodes),
            tuple(place[self.parents[i]] for i in nodes),
            tuple(self.conf[i] for i in nodes) if self.conf else (),
            tuple(self.dists[i] for i in nodes) if self.dists else (),
            self.by,
        )


def flaw(draft: Any, vocab: int, room: int) -> str:
    """What is wrong with an answer to "a draft of at most `room` nodes", in a few words; "" for nothing."""
    if not isinstance(draft, Draft):
        return f"it answered with {type(draft).__name__}, not a Draft"
    tokens = draft.tokens
    if len(tokens) > room:
        return f"it drafted {len(tokens)} tokens where {room} were asked for"
    if tokens and not (set(map(type, tokens)) == {int} and min(tokens) >= 0 and max(tokens) < vocab):
        bad = next(t for t in tokens if type(t) is not int or not 0 <= t < vocab)
        return f"it drafted token {bad!r}; tokens are whole numbers (int), the vocabulary has {vocab}"
    if draft.conf and not _are_probabilities(draft.conf):
        return f"its conf is no probability: {draft.conf}"
    return "" if isinstance(draft.by, str) else f"it is by {draft.by!r}, which is no name"


def _are_probabilities(conf: Sequence[float]) -> bool:
    try:
        return min(conf) >= 0 and max(conf) <= 1 and sum(conf) >= 0  # the sum finds what is no number
    except TypeError:
        return False


def path_probabilities(draft: Draft) -> list[float]:
    """How likely each node is to be accepted: the product of `conf` down its path."""
    out: list[float] = []
    for conf, parent in zip(draft.conf, draft.parents, strict=True):
        out.append(conf * (out[parent] if parent >= 0 else 1.0))
    return out
