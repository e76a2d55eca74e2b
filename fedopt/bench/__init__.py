"""The benchmarks, on the user's own machine: rows of what was measured, never a judgement."""

from fedopt.bench.row import Row
from fedopt.bench.suites import SUITES, Settings, UnknownSuite, run

__all__ = ["SUITES", "Row", "Settings", "UnknownSuite", "run"]
