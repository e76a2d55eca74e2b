"""The same instance by several methods and guarantees: a table, and a plot of how each got there."""

from fedopt.compare.comparison import HEADINGS, Comparison, Row, cells, compare, largest_difference

__all__ = ["HEADINGS", "Comparison", "Row", "cells", "compare", "largest_difference"]
