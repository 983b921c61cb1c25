"""One table of cases per family: a file in a family's folder without a case here fails."""

from __future__ import annotations

from typing import Any

from outthink.speculate import Consensus, Copy, Hierarchy, Jacobi, Recycling, Stand, Store, Trie
from outthink.speculate.rules import Block, Match, Recursive, Rejection
from outthink.strategy import (
    AdaptiveVote,
    BestOfN,
    Greedy,
    Once,
    Sample,
    Short,
    Vote,
    WeightedVote,
)
from outthink.verify import Certainty, Exact, Likelihood, Steps

STRATEGIES: dict[str, list[Any]] = {
    "adaptive_vote": [AdaptiveVote(n=7, wave=2), AdaptiveVote(n=3, wave=5, confidence=0.6)],
    "best_of_n": [BestOfN(Likelihood(), n=3), BestOfN(Certainty(), n=2, inner=Vote(n=2))],
    "greedy": [Greedy()],
    "once": [Once()],
    "sample": [Sample(), Sample(temperature=0.0)],
    "short": [Short(), Short(m=2, k=3), Short(m=3, k=3)],
    "vote": [Vote(n=1), Vote(n=4), Vote(n=2, inner=Short(m=1, k=2)), Vote(n=2, inner=BestOfN(Exact(), n=2))],
    "weighted_vote": [WeightedVote(Exact(), n=3), WeightedVote(Likelihood(), n=3, weight="exp")],
}
VERIFIERS: dict[str, list[Any]] = {
    "certainty": [Certainty()],
    "exact": [Exact()],
    "likelihood": [Likelihood(), Likelihood(per="text")],
    "steps": [Steps(), Steps(noise=0.3)],
}
STORE = "contract.store"  # a datastore that the test writes
DRAFTERS: dict[str, list[Any]] = {
    "consensus": [Consensus(), Consensus(n=3, m=1, shape=(2, 1))],
    "copy": [Copy(), Copy(n=2, m=1)],
    "hierarchy": [Hierarchy(), Hierarchy((Jacobi(), Store(STORE), Recycling()), n=9)],
    "jacobi": [Jacobi(), Jacobi(window=1)],
    "recycling": [Recycling(), Recycling(k=2, shape=(2, 1, 1)), Recycling(shape="chain")],
    "stand": [Stand(), Stand(order=1, k=2, shape=(2, 2)), Stand(shape="chain")],
    "store": [Store(STORE), Store(STORE, m=1, shape="chain")],
    "trie": [Trie(), Trie(n=20, m=1), Trie(shape=(3, 2))],
}
RULES: dict[str, list[Any]] = {
    "block": [Block()],
    "match": [Match()],
    "recursive": [Recursive()],
    "rejection": [Rejection()],
}
WRONG_FIELDS: list[tuple[type, dict[str, Any], str]] = [
    (Vote, {"n": 0}, "at least 1"),
    (BestOfN, {"verifier": Exact(), "n": 0}, "at least 1"),
    (WeightedVote, {"verifier": Exact(), "weight": "x"}, "'value' or 'exp'"),
    (Short, {"m": 3, "k": 2}, "1 <= m <= k"),
    (AdaptiveVote, {"confidence": 1.5}, "probability"),
    (Sample, {"temperature": -1.0}, "0 or more"),
    (Steps, {"noise": 2.0}, "probability"),
    (Copy, {"n": 0}, "at least 1"),
    (Trie, {"shape": "bush"}, "best_nodes"),
    (Consensus, {"m": 0}, "at least 1"),
    (Recycling, {"shape": (2, 0)}, "widths of at least 1"),
    (Recycling, {"k": 0}, "at least 1"),
    (Jacobi, {"window": 0}, "at least 1"),
    (Stand, {"order": 0}, "at least 1"),
    (Store, {"path": "x", "m": 17}, "m of 1 to 16"),
    (Hierarchy, {"drafters": ()}, "at least one drafter"),
    (Likelihood, {"per": "x"}, "'token' or 'text'"),
]
