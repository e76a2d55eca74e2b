"""Federated planning: operators keep costs and capacities, a broker coordinates, the gap is certified.

The solver is imported on first use: certificates and connections are used without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedopt.federated.solver import negotiate as negotiate
    from fedopt.federated.solver import solve as solve

__all__ = ["negotiate", "solve"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fedopt.federated' has no attribute {name!r}")
    from fedopt.federated import solver

    globals()[name] = value = getattr(solver, name)
    return value
