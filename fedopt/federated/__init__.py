"""Federated planning: operators keep costs and capacities, a broker coordinates, the gap is certified.

Everything is imported on first use: certificates and connections are used without the solver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedopt.federated.problem import PrivateProblem as PrivateProblem
    from fedopt.federated.problem import ProblemError as ProblemError
    from fedopt.federated.problem import default_problem as default_problem
    from fedopt.federated.solver import negotiate as negotiate
    from fedopt.federated.solver import solve as solve

_HOME = {
    "PrivateProblem": "problem",
    "ProblemError": "problem",
    "default_problem": "problem",
    "negotiate": "solver",
    "solve": "solver",
}

__all__ = ["PrivateProblem", "ProblemError", "default_problem", "negotiate", "solve"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fedopt.federated' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"fedopt.federated.{_HOME[name]}"), name)
    return value
