"""Every strategy at equal budgets of written tokens: `python -m benchmarks.strategies`, STRATEGIES.md."""
