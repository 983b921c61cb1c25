"""Strategies: how inference compute becomes a better answer. File name = method name = lookup name."""

from outthink.strategy.adaptive_vote import AdaptiveVote
from outthink.strategy.backward_chain import BackwardChain
from outthink.strategy.batch_prompt import BatchPrompt
from outthink.strategy.best_of_n import BestOfN
from outthink.strategy.budget_force import BudgetForce
from outthink.strategy.dser import Dser
from outthink.strategy.greedy import Greedy
from outthink.strategy.hints import Hints
from outthink.strategy.iad import Iad
from outthink.strategy.infty import Infty
from outthink.strategy.once import Once
from outthink.strategy.pdr import Pdr
from outthink.strategy.permute import Permute
from outthink.strategy.plangen import Plangen
from outthink.strategy.read_twice import ReadTwice
from outthink.strategy.refine import Refine
from outthink.strategy.sample import Sample
from outthink.strategy.short import Short
from outthink.strategy.sift import Sift
from outthink.strategy.synthesize import Synthesize
from outthink.strategy.vote import Vote
from outthink.strategy.weighted_vote import WeightedVote

__all__ = [
    "AdaptiveVote",
    "BackwardChain",
    "BatchPrompt",
    "BestOfN",
    "BudgetForce",
    "Dser",
    "Greedy",
    "Hints",
    "Iad",
    "Infty",
    "Once",
    "Pdr",
    "Permute",
    "Plangen",
    "ReadTwice",
    "Refine",
    "Sample",
    "Short",
    "Sift",
    "Synthesize",
    "Vote",
    "WeightedVote",
]
