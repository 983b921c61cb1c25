"""Drafters: guesses of what comes next, for the model to check. They change the cost, never the text."""

from outthink.speculate.auto import Auto
from outthink.speculate.draft_model import DraftModel
from outthink.speculate.exit import Exit
from outthink.speculate.int8 import Int8
from outthink.speculate.skip import Skip
from outthink.speculate.staged import Staged

__all__ = ["Auto", "DraftModel", "Exit", "Int8", "Skip", "Staged"]
