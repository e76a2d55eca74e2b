"""Sweeps: many instances, or one over a grid of values, by several methods and guarantees, to one table."""

from fedopt.sweep.cases import Axis, Case, SweepError, cases_of, parse_axis
from fedopt.sweep.row import Row, run_case
from fedopt.sweep.sweeping import sweep
from fedopt.sweep.table import Table
from fedopt.sweep.workers import BACKENDS, Workers

__all__ = [
    "BACKENDS",
    "Axis",
    "Case",
    "Row",
    "SweepError",
    "Table",
    "Workers",
    "cases_of",
    "parse_axis",
    "run_case",
    "sweep",
]
