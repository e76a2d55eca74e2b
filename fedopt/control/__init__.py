"""Operating a plan: tenants come and go, domains degrade, and every control period the loop closes.

A scenario says what happens; the loop plans, lets packets run, audits, recalibrates and settles, period by
period, and keeps all of it in one SQLite file that a crash cannot tear.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedopt.control.loop import identity_of as identity_of
    from fedopt.control.loop import operate as operate
    from fedopt.control.scenario import Scenario as Scenario
    from fedopt.control.scenario import load_scenario as load_scenario
    from fedopt.control.store import StateError as StateError
    from fedopt.control.store import Store as Store

_HOME = {
    "Scenario": "fedopt.control.scenario",
    "StateError": "fedopt.control.store",
    "Store": "fedopt.control.store",
    "load_scenario": "fedopt.control.scenario",
    "identity_of": "fedopt.control.loop",
    "operate": "fedopt.control.loop",
}

__all__ = ["Scenario", "StateError", "Store", "identity_of", "load_scenario", "operate"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
