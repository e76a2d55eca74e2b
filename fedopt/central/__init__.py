"""The central method: column generation on the pricing oracle, an integer plan, a certified gap."""

from fedopt.central.shortfall import shortfall
from fedopt.central.solver import solve

__all__ = ["shortfall", "solve"]
