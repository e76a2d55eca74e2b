"""The method "bundle": the disaggregated proximal bundle; fewer rounds, for each operator's own costs."""

from __future__ import annotations

from functools import partial

from fedopt.federated.solver import solve as _solve

__all__ = ["solve"]

solve = partial(_solve, method="bundle")
