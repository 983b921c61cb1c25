"""One table of cases per family: a file in a family's folder without a case here fails."""

from __future__ import annotations

from typing import Any

from outthink.strategy import (
    AdaptiveVote,
    BestOfMajority,
    BestOfN,
    ComplexityVote,
    CotDecode,
    DeepConf,
    Fractured,
    Greedy,
    ModelSwitch,
    Once,
    PerplexityConsistency,
    Race,
    Sample,
    SemanticEntropy,
    SetCover,
    Short,
    Temperatures,
    Vote,
    WeightedVote,
)
from outthink.verify import Certainty, Exact, Likelihood, Recorded, Steps

STRATEGIES: dict[str, list[Any]] = {
    "adaptive_vote": [AdaptiveVote(n=7, wave=2), AdaptiveVote(n=3, wave=5, confidence=0.6)],
    "best_of_majority": [BestOfMajority(n=4), BestOfMajority(Certainty(), k=2, n=3, share=0.5)],
    "best_of_n": [BestOfN(Likelihood(), n=3), BestOfN(Certainty(), n=2, inner=Vote(n=2))],
    "complexity_vote": [ComplexityVote(n=3), ComplexityVote(n=2, share=1.0)],
    "cot_decode": [CotDecode(k=3), CotDecode(k=2, pooled=False), Vote(n=2, inner=CotDecode(k=2))],
    "deep_conf": [
        DeepConf(n=5, warmup=2, window=2, check=2),
        DeepConf(n=3, warmup=3),
        DeepConf(n=4, warmup=1, keep=1.0, window=1, check=1),
    ],
    "fractured": [Fractured(n=2, m=2, depths=2, answer=3), Fractured(n=2, depths=0)],
    "greedy": [Greedy()],
    "model_switch": [ModelSwitch(n=3)],
    "once": [Once()],
    "perplexity_consistency": [
        PerplexityConsistency(n=5),
        PerplexityConsistency(n=3, pruned=False, per="token"),
    ],
    "race": [Race(), Race((Sample(1.5), Once(), Greedy()))],
    "sample": [Sample(), Sample(temperature=0.0)],
    "semantic_entropy": [
        SemanticEntropy(n=2, threshold=0.1),
        SemanticEntropy(n=2, rounds=2, threshold=0.1, prompt=""),
    ],
    "set_cover": [SetCover(n=4, every=2), SetCover(n=3, every=1, cover=0.5)],
    "short": [Short(), Short(m=2, k=3), Short(m=3, k=3)],
    "temperatures": [Temperatures(n=4), Temperatures(n=2, values=(0.0, 2.0))],
    "vote": [Vote(n=1), Vote(n=4), Vote(n=2, inner=Short(m=1, k=2)), Vote(n=2, inner=BestOfN(Exact(), n=2))],
    "weighted_vote": [WeightedVote(Exact(), n=3), WeightedVote(Likelihood(), n=3, weight="exp")],
}
VERIFIERS: dict[str, list[Any]] = {
    "certainty": [Certainty()],
    "exact": [Exact()],
    "likelihood": [Likelihood(), Likelihood(per="text")],
    "recorded": [Recorded(), Recorded("prm")],
    "steps": [Steps(), Steps(noise=0.3)],
}
WRONG_FIELDS: list[tuple[type, dict[str, Any], str]] = [
    (Vote, {"n": 0}, "at least 1"),
    (BestOfN, {"verifier": Exact(), "n": 0}, "at least 1"),
    (WeightedVote, {"verifier": Exact(), "weight": "x"}, "'value' or 'exp'"),
    (Short, {"m": 3, "k": 2}, "1 <= m <= k"),
    (AdaptiveVote, {"confidence": 1.5}, "probability"),
    (Sample, {"temperature": -1.0}, "0 or more"),
    (BestOfMajority, {"k": 0}, "at least 1"),
    (BestOfMajority, {"share": 1.5}, "share from 0 to 1"),
    (ComplexityVote, {"share": 0.0}, "above 0"),
    (CotDecode, {"k": 0}, "at least 1"),
    (DeepConf, {"warmup": 9, "n": 8}, "1 <= warmup <= n"),
    (DeepConf, {"keep": 0.0}, "above 0"),
    (DeepConf, {"window": 0}, "at least 1 token"),
    (Fractured, {"m": 0}, "m=0"),
    (Fractured, {"depths": -1}, "whole traces only"),
    (ModelSwitch, {"agree": 0.0}, "above 0"),
    (PerplexityConsistency, {"per": "x"}, "'token' or 'text'"),
    (Race, {"strategies": ()}, "at least one"),
    (SemanticEntropy, {"rounds": 0}, "at least 1"),
    (SemanticEntropy, {"prompt": "{question}"}, "{answers}"),
    (SetCover, {"every": 0}, "at least 1"),
    (SetCover, {"cover": 2.0}, "at most 1"),
    (Temperatures, {"values": ()}, "give temperatures"),
    (WeightedVote, {"verifier": Exact(), "power": -1.0}, "power"),
    (Steps, {"noise": 2.0}, "probability"),
    (Likelihood, {"per": "x"}, "'token' or 'text'"),
]
