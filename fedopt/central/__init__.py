"""The central method: column generation on the pricing oracle, an integer plan, a certified gap."""

from fedopt.central.solver import solve
from fedopt.central.shortfall import shortfall

__all__ = ["shortfall", "solve"]
