"""Federated planning: operators keep costs and capacities, a broker coordinates, the gap is certified."""

from fedopt.admm.solver import negotiate, solve

__all__ = ["negotiate", "solve"]
