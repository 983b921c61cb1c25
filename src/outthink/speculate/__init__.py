"""Drafters: guesses of what comes next, for the model to check. They change the cost, never the text."""

from outthink.speculate.auto import Auto
from outthink.speculate.consensus import Consensus
from outthink.speculate.copy import Copy
from outthink.speculate.draft_model import DraftModel
from outthink.speculate.exit import Exit
from outthink.speculate.hierarchy import Hierarchy
from outthink.speculate.int8 import Int8
from outthink.speculate.jacobi import Jacobi
from outthink.speculate.recycling import Recycling
from outthink.speculate.skip import Skip
from outthink.speculate.staged import Staged
from outthink.speculate.stand import Stand
from outthink.speculate.store import Store
from outthink.speculate.trie import Trie

__all__ = [
    "Auto", "Consensus", "Copy", "DraftModel", "Exit", "Hierarchy", "Int8", "Jacobi", "Recycling", "Skip",
    "Staged", "Stand", "Store", "Trie",
]  # fmt: skip
