"""Monte-Carlo: whole requests in continuous time, the fluid in slots, rare events; compiled, reproducible."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedopt.simulate.result import SimulationResult as SimulationResult
    from fedopt.simulate.result import TenantResult as TenantResult
    from fedopt.simulate.validation import simulate as simulate

_HOME = {
    "SimulationResult": "fedopt.simulate.result",
    "TenantResult": "fedopt.simulate.result",
    "simulate": "fedopt.simulate.validation",
}

__all__ = ["SimulationResult", "TenantResult", "simulate"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
