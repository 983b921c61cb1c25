"""Benchmarks side by side with transformers and llama.cpp: `python -m benchmarks` writes RESULTS.md."""
