"""One table of cases per family: a file in a family's folder without a case here fails."""

from __future__ import annotations

from typing import Any

from outthink.strategy import (
    AbMcts,
    AdaptiveVote,
    AStar,
    Beam,
    BestOfN,
    DiverseBeam,
    Dvts,
    Greedy,
    Lattice,
    Lookahead,
    Mcts,
    Mits,
    Once,
    Phi,
    Rebase,
    Sample,
    Short,
    Tot,
    Vote,
    WeightedVote,
)
from outthink.verify import Certainty, Exact, Likelihood, Steps

STRATEGIES: dict[str, list[Any]] = {
    "a_star": [AStar(Exact(), expand=2, expansions=6, step="b"), AStar(Exact(), weight=0.0, step="c")],
    "ab_mcts": [
        AbMcts(Exact(), simulations=8, step="b"),
        AbMcts(Likelihood(), simulations=9, wave=2, posterior="gaussian", step="b", step_tokens=2),
    ],
    "adaptive_vote": [AdaptiveVote(n=7, wave=2), AdaptiveVote(n=3, wave=5, confidence=0.6)],
    "beam": [
        Beam(Likelihood(), width=2, expand=2, step="b"),
        Beam(Certainty(), width=1, expand=3, step_tokens=2),
    ],
    "best_of_n": [BestOfN(Likelihood(), n=3), BestOfN(Certainty(), n=2, inner=Vote(n=2))],
    "diverse_beam": [DiverseBeam(), DiverseBeam(width=3, groups=3, penalty=2.0)],
    "dvts": [
        Dvts(Likelihood(), trees=2, expand=2, step="b"),
        Dvts(Exact(), trees=3, expand=1, select="vote", step_tokens=3),
    ],
    "greedy": [Greedy()],
    "lattice": [Lattice(n=3, expansions=12, ngram=1), Lattice(n=2, merge=False, wave=1, expansions=7)],
    "lookahead": [
        Lookahead(Likelihood(), width=2, expand=2, step="b"),
        Lookahead(Exact(), width=2, expand=2, k=3, step_tokens=1),
    ],
    "mcts": [
        Mcts(Exact(), simulations=5, expand=2, step="b"),
        Mcts(Likelihood(), simulations=6, expand=2, rule="puct", rollout=True, wave=2, step_tokens=2),
    ],
    "mits": [
        Mits(width=2, expand=2, blank="a", step="b"),
        Mits(width=1, expand=3, blank="ba", step_tokens=2),
    ],
    "once": [Once()],
    "phi": [Phi(width=2, expand=2, step="b"), Phi(width=1, expand=3, agree=2.0, step_tokens=2)],
    "rebase": [
        Rebase(Exact(), n=5, step="b"),
        Rebase(Likelihood(), n=4, temperature=1.0, select="best", step_tokens=2),
    ],
    "sample": [Sample(), Sample(temperature=0.0)],
    "short": [Short(), Short(m=2, k=3), Short(m=3, k=3)],
    "tot": [
        Tot(Likelihood(), width=2, expand=2, step="b"),
        Tot(Exact(), order="depth", expand=2, expansions=5, solutions=2, step_tokens=2),
        Tot(Likelihood(), threshold=0.5, step="b"),
    ],
    "vote": [
        Vote(n=2, inner=Beam(Likelihood(), width=2, expand=2, step="b")),
        Vote(n=1),
        Vote(n=4),
        Vote(n=2, inner=Short(m=1, k=2)),
        Vote(n=2, inner=BestOfN(Exact(), n=2)),
    ],
    "weighted_vote": [WeightedVote(Exact(), n=3), WeightedVote(Likelihood(), n=3, weight="exp")],
}
VERIFIERS: dict[str, list[Any]] = {
    "certainty": [Certainty()],
    "exact": [Exact()],
    "likelihood": [Likelihood(), Likelihood(per="text")],
    "steps": [Steps(), Steps(noise=0.3)],
}
WRONG_FIELDS: list[tuple[type, dict[str, Any], str]] = [
    (Vote, {"n": 0}, "at least 1"),
    (BestOfN, {"verifier": Exact(), "n": 0}, "at least 1"),
    (WeightedVote, {"verifier": Exact(), "weight": "x"}, "'value' or 'exp'"),
    (Short, {"m": 3, "k": 2}, "1 <= m <= k"),
    (AdaptiveVote, {"confidence": 1.5}, "probability"),
    (Sample, {"temperature": -1.0}, "0 or more"),
    (AbMcts, {"verifier": Exact(), "posterior": "x"}, "'beta' or 'gaussian'"),
    (AStar, {"verifier": Exact(), "weight": -1.0}, "0 or more"),
    (Beam, {"verifier": Exact(), "width": 0}, "at least 1"),
    (Beam, {"verifier": Exact(), "step": ""}, "text that ends a step"),
    (DiverseBeam, {"width": 3, "groups": 2}, "groups divide"),
    (Dvts, {"verifier": Exact(), "select": "x"}, "'best' or 'vote'"),
    (Lattice, {"ngram": 0}, "at least 1"),
    (Lookahead, {"verifier": Exact(), "k": -1}, "0 or more"),
    (Mcts, {"verifier": Exact(), "rule": "x"}, "'uct' or 'puct'"),
    (Mits, {"step_tokens": 0}, "at least 1"),
    (Phi, {"temperature": 0.0}, "more than 0"),
    (Rebase, {"verifier": Exact(), "temperature": 0.0}, "more than 0"),
    (Tot, {"verifier": Exact(), "order": "x"}, "'breadth' or 'depth'"),
    (Steps, {"noise": 2.0}, "probability"),
    (Likelihood, {"per": "x"}, "'token' or 'text'"),
]
