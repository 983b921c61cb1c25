"""Strategies: how inference compute becomes a better answer. File name = method name = lookup name."""

from outthink.strategy.a_star import AStar
from outthink.strategy.ab_mcts import AbMcts
from outthink.strategy.adaptive_vote import AdaptiveVote
from outthink.strategy.beam import Beam
from outthink.strategy.best_of_n import BestOfN
from outthink.strategy.diverse_beam import DiverseBeam
from outthink.strategy.dvts import Dvts
from outthink.strategy.greedy import Greedy
from outthink.strategy.lattice import Lattice
from outthink.strategy.lookahead import Lookahead
from outthink.strategy.mcts import Mcts
from outthink.strategy.mits import Mits
from outthink.strategy.once import Once
from outthink.strategy.phi import Phi
from outthink.strategy.rebase import Rebase
from outthink.strategy.sample import Sample
from outthink.strategy.short import Short
from outthink.strategy.tot import Tot
from outthink.strategy.vote import Vote
from outthink.strategy.weighted_vote import WeightedVote

__all__ = [
    "AStar",
    "AbMcts",
    "AdaptiveVote",
    "Beam",
    "BestOfN",
    "DiverseBeam",
    "Dvts",
    "Greedy",
    "Lattice",
    "Lookahead",
    "Mcts",
    "Mits",
    "Once",
    "Phi",
    "Rebase",
    "Sample",
    "Short",
    "Tot",
    "Vote",
    "WeightedVote",
]
