"""Drafters: guesses of what comes next, for the model to check. They change the cost, never the text."""

from outthink.speculate.auto import Auto
from outthink.speculate.draft_model import DraftModel

__all__ = ["Auto", "DraftModel"]
