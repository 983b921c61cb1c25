"""Strategies: how inference compute becomes a better answer. File name = method name = lookup name."""

from outthink.strategy.adaptive_vote import AdaptiveVote
from outthink.strategy.best_of_majority import BestOfMajority
from outthink.strategy.best_of_n import BestOfN
from outthink.strategy.bidirectional import Bidirectional
from outthink.strategy.complexity_vote import ComplexityVote
from outthink.strategy.cot_decode import CotDecode
from outthink.strategy.deep_conf import DeepConf
from outthink.strategy.entropic_particles import EntropicParticles
from outthink.strategy.fractured import Fractured
from outthink.strategy.greedy import Greedy
from outthink.strategy.metropolis import Metropolis
from outthink.strategy.model_switch import ModelSwitch
from outthink.strategy.once import Once
from outthink.strategy.particle_gibbs import ParticleGibbs
from outthink.strategy.particles import Particles
from outthink.strategy.perplexity_consistency import PerplexityConsistency
from outthink.strategy.race import Race
from outthink.strategy.sample import Sample
from outthink.strategy.semantic_entropy import SemanticEntropy
from outthink.strategy.set_cover import SetCover
from outthink.strategy.short import Short
from outthink.strategy.temperatures import Temperatures
from outthink.strategy.twisted import Twisted
from outthink.strategy.vote import Vote
from outthink.strategy.weighted_vote import WeightedVote

__all__ = [
    "AdaptiveVote",
    "BestOfMajority",
    "BestOfN",
    "Bidirectional",
    "ComplexityVote",
    "CotDecode",
    "DeepConf",
    "EntropicParticles",
    "Fractured",
    "Greedy",
    "Metropolis",
    "ModelSwitch",
    "Once",
    "ParticleGibbs",
    "Particles",
    "PerplexityConsistency",
    "Race",
    "Sample",
    "SemanticEntropy",
    "SetCover",
    "Short",
    "Temperatures",
    "Twisted",
    "Vote",
    "WeightedVote",
]
