"""Benchmarks of speculation: `python -m benchmarks.speculation` writes SPECULATION.md."""
