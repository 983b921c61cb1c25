"""Drafters: guesses of what comes next, for the model to check. They change the cost, never the text."""

from outthink.speculate.consensus import Consensus
from outthink.speculate.copy import Copy
from outthink.speculate.hierarchy import Hierarchy
from outthink.speculate.jacobi import Jacobi
from outthink.speculate.recycling import Recycling
from outthink.speculate.stand import Stand
from outthink.speculate.store import Store
from outthink.speculate.trie import Trie

__all__ = ["Consensus", "Copy", "Hierarchy", "Jacobi", "Recycling", "Stand", "Store", "Trie"]
