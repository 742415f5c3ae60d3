"""Virtual time for tests: the loop of `benchmarks.virtual_time`, which has the one implementation."""

from benchmarks.virtual_time import Stuck, VirtualLoop, run

__all__ = ["Stuck", "VirtualLoop", "run"]
