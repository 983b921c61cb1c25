"""Strategies: how inference compute becomes a better answer. File name = method name = lookup name."""

from outthink.strategy.a_star import AStar
from outthink.strategy.ab_mcts import AbMcts
from outthink.strategy.adaptive_vote import AdaptiveVote
from outthink.strategy.backward_chain import BackwardChain
from outthink.strategy.batch_prompt import BatchPrompt
from outthink.strategy.beam import Beam
from outthink.strategy.best_of_majority import BestOfMajority
from outthink.strategy.best_of_n import BestOfN
from outthink.strategy.bidirectional import Bidirectional
from outthink.strategy.budget_force import BudgetForce
from outthink.strategy.complexity_vote import ComplexityVote
from outthink.strategy.cot_decode import CotDecode
from outthink.strategy.deep_conf import DeepConf
from outthink.strategy.diverse_beam import DiverseBeam
from outthink.strategy.dser import Dser
from outthink.strategy.dvts import Dvts
from outthink.strategy.entropic_particles import EntropicParticles
from outthink.strategy.fractured import Fractured
from outthink.strategy.greedy import Greedy
from outthink.strategy.hints import Hints
from outthink.strategy.iad import Iad
from outthink.strategy.infty import Infty
from outthink.strategy.lattice import Lattice
from outthink.strategy.lookahead import Lookahead
from outthink.strategy.mcts import Mcts
from outthink.strategy.metropolis import Metropolis
from outthink.strategy.mits import Mits
from outthink.strategy.model_switch import ModelSwitch
from outthink.strategy.once import Once
from outthink.strategy.particle_gibbs import ParticleGibbs
from outthink.strategy.particles import Particles
from outthink.strategy.pdr import Pdr
from outthink.strategy.permute import Permute
from outthink.strategy.perplexity_consistency import PerplexityConsistency
from outthink.strategy.phi import Phi
from outthink.strategy.plangen import Plangen
from outthink.strategy.race import Race
from outthink.strategy.read_twice import ReadTwice
from outthink.strategy.rebase import Rebase
from outthink.strategy.refine import Refine
from outthink.strategy.sample import Sample
from outthink.strategy.semantic_entropy import SemanticEntropy
from outthink.strategy.set_cover import SetCover
from outthink.strategy.short import Short
from outthink.strategy.sift import Sift
from outthink.strategy.synthesize import Synthesize
from outthink.strategy.temperatures import Temperatures
from outthink.strategy.tot import Tot
from outthink.strategy.twisted import Twisted
from outthink.strategy.vote import Vote
from outthink.strategy.weighted_vote import WeightedVote

__all__ = [
    "AStar",
    "AbMcts",
    "AdaptiveVote",
    "BackwardChain",
    "BatchPrompt",
    "Beam",
    "BestOfMajority",
    "BestOfN",
    "Bidirectional",
    "BudgetForce",
    "ComplexityVote",
    "CotDecode",
    "DeepConf",
    "DiverseBeam",
    "Dser",
    "Dvts",
    "EntropicParticles",
    "Fractured",
    "Greedy",
    "Hints",
    "Iad",
    "Infty",
    "Lattice",
    "Lookahead",
    "Mcts",
    "Metropolis",
    "Mits",
    "ModelSwitch",
    "Once",
    "ParticleGibbs",
    "Particles",
    "Pdr",
    "Permute",
    "PerplexityConsistency",
    "Phi",
    "Plangen",
    "Race",
    "ReadTwice",
    "Rebase",
    "Refine",
    "Sample",
    "SemanticEntropy",
    "SetCover",
    "Short",
    "Sift",
    "Synthesize",
    "Temperatures",
    "Tot",
    "Twisted",
    "Vote",
    "WeightedVote",
]
