"""A plan as one self-contained HTML page: what was decided, what is proven, what was seen, what it costs."""

from fedopt.report.given import Given, ReportError, Simulation, read_settlement, read_simulation
from fedopt.report.page import render

__all__ = ["Given", "ReportError", "Simulation", "read_settlement", "read_simulation", "render"]
