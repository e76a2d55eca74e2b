"""Splitting an end-to-end SLA into partial ones: the paper's method, an exact one, and a batched one."""

from fedopt.learn.decomposition.grid import on_grid
from fedopt.learn.decomposition.price import by_price, tangent_bound
from fedopt.learn.decomposition.problem import Decomposition, DecompositionInfeasible, Problem
from fedopt.learn.decomposition.slsqp import by_slsqp

METHODS = {"grid": on_grid, "price": by_price, "slsqp": by_slsqp}

__all__ = [
    "METHODS",
    "Decomposition",
    "DecompositionInfeasible",
    "Problem",
    "by_price",
    "by_slsqp",
    "on_grid",
    "tangent_bound",
]
