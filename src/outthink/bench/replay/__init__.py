"""Recorded samples: read them, estimate what selectors make of them, and say what it means."""
