"""Drafters: guesses of what comes next, for the model to check. They change the cost, never the text."""

__all__: list[str] = []
