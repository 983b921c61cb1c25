"""Strategies: how inference compute becomes a better answer. File name = method name = lookup name."""

from outthink.strategy.adaptive_vote import AdaptiveVote
from outthink.strategy.best_of_n import BestOfN
from outthink.strategy.bidirectional import Bidirectional
from outthink.strategy.entropic_particles import EntropicParticles
from outthink.strategy.greedy import Greedy
from outthink.strategy.metropolis import Metropolis
from outthink.strategy.once import Once
from outthink.strategy.particle_gibbs import ParticleGibbs
from outthink.strategy.particles import Particles
from outthink.strategy.sample import Sample
from outthink.strategy.short import Short
from outthink.strategy.twisted import Twisted
from outthink.strategy.vote import Vote
from outthink.strategy.weighted_vote import WeightedVote

__all__ = [
    "AdaptiveVote",
    "BestOfN",
    "Bidirectional",
    "EntropicParticles",
    "Greedy",
    "Metropolis",
    "Once",
    "ParticleGibbs",
    "Particles",
    "Sample",
    "Short",
    "Twisted",
    "Vote",
    "WeightedVote",
]
