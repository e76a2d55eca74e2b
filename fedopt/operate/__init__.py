"""Operating a plan: tenants come and go, domains degrade, and every control period the loop closes.

A scenario says what happens; the loop plans, lets packets run, audits, recalibrates and settles, period by
period, and keeps all of it in one SQLite file that a crash cannot tear.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedopt.operate.runs import identity_of as identity_of
    from fedopt.operate.runs import operate as operate
    from fedopt.operate.scenario import Scenario as Scenario
    from fedopt.operate.scenario import load_scenario as load_scenario
    from fedopt.operate.store import StateError as StateError
    from fedopt.operate.store import Store as Store

_HOME = {
    "Scenario": "fedopt.operate.scenario",
    "StateError": "fedopt.operate.store",
    "Store": "fedopt.operate.store",
    "load_scenario": "fedopt.operate.scenario",
    "identity_of": "fedopt.operate.runs",
    "operate": "fedopt.operate.runs",
}

__all__ = ["Scenario", "StateError", "Store", "identity_of", "load_scenario", "operate"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
