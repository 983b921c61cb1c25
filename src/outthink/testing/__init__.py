"""Contract checks for parts of your own, and exact enumeration on toy models."""
