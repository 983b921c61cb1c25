"""The parts of the client for endpoints."""
