"""Measurements: `python -m benchmarks`, into `benchmarks/results`."""
