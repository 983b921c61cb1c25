"""What can be wrong with a model directory."""

from __future__ import annotations


class ModelError(ValueError):
    """A model cannot be loaded or cannot do what is asked; one line, which says what to do about it."""
