"""One table of cases per family: a file in a family's folder without a case here fails."""

from __future__ import annotations

from typing import Any

from outthink.strategy import (
    AdaptiveVote,
    BestOfN,
    Bidirectional,
    EntropicParticles,
    Greedy,
    Metropolis,
    Once,
    ParticleGibbs,
    Particles,
    Sample,
    Short,
    Twisted,
    Vote,
    WeightedVote,
)
from outthink.verify import Certainty, Exact, Likelihood, Steps

STRATEGIES: dict[str, list[Any]] = {
    "adaptive_vote": [AdaptiveVote(n=7, wave=2), AdaptiveVote(n=3, wave=5, confidence=0.6)],
    "best_of_n": [BestOfN(Likelihood(), n=3), BestOfN(Certainty(), n=2, inner=Vote(n=2))],
    "bidirectional": [Bidirectional(Exact(), n=2, tries=4), Bidirectional(Exact(), Exact(), n=2, repeats=2)],
    "entropic_particles": [EntropicParticles(Likelihood(), n=3, scale="log", tokens=2, lookahead=1)],
    "greedy": [Greedy()],
    "metropolis": [Metropolis(Likelihood(), n=2, moves=2, scale="log", tokens=2), Metropolis(Exact(), n=2)],
    "once": [Once()],
    "particle_gibbs": [
        ParticleGibbs(Likelihood(per="text"), n=3, sweeps=2, scale="log", threshold=1.0, tokens=2),
        ParticleGibbs(Likelihood(), n=2, sweeps=1, scale="log", ancestors=False, pick="draw"),
    ],
    "particles": [
        Particles(Likelihood(per="text"), n=3, scale="log", threshold=1.0, tokens=2),
        Particles(Likelihood(), n=2, scale="log", resampling="gumbel", expand=2, tokens=1, pick="best"),
        Particles(Exact(), n=3),
        Particles(Likelihood(), n=2, scale="log", moves=1, tokens=2, pick="draw"),
    ],
    "sample": [Sample(), Sample(temperature=0.0)],
    "short": [Short(), Short(m=2, k=3), Short(m=3, k=3)],
    "twisted": [Twisted(Exact(), Exact(), n=3, floor=0.1), Twisted(Likelihood(), Likelihood(), scale="log")],
    "vote": [Vote(n=1), Vote(n=4), Vote(n=2, inner=Short(m=1, k=2)), Vote(n=2, inner=BestOfN(Exact(), n=2))],
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
    (Particles, {"verifier": Exact(), "resampling": "roulette"}, "systematic"),
    (Particles, {"verifier": Exact(), "resampling": "optimal"}, "expand=2"),
    (Particles, {"verifier": Exact(), "threshold": 2.0}, "share of n"),
    (Particles, {"verifier": Exact(), "over": "sum"}, "'product'"),
    (Particles, {"verifier": Exact(), "scale": "log", "floor": 0.1}, "least reward"),
    (Particles, {"verifier": Exact(), "step": ""}, "length of a step"),
    (Particles, {"verifier": Exact(), "tokens": 0}, "at least 1"),
    (Particles, {"verifier": Exact(), "pick": "first"}, "'vote'"),
    (Particles, {"verifier": Exact(), "moves": -1}, "0 or more"),
    (EntropicParticles, {"verifier": Exact(), "entropy": 2.0}, "share from 0 to 1"),
    (ParticleGibbs, {"verifier": Exact(), "n": 1}, "2 particles"),
    (Metropolis, {"verifier": Exact(), "moves": 0}, "at least 1"),
    (Bidirectional, {"verifier": Exact(), "most": 0.0}, "largest phi"),
    (Twisted, {"verifier": Exact(), "twist": Exact(), "scale": "x"}, "'reward' or 'log'"),
    (Steps, {"noise": 2.0}, "probability"),
    (Likelihood, {"per": "x"}, "'token' or 'text'"),
]
