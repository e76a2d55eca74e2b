"""Model files: finding them, running them, and the data and documents that they share.

A model file defines `build(instance, **options)`, `solve(model, gap, time_limit)` and `extract(model) ->
Plan`; its docstring states the mathematics. The names below are imported on first use: listing the files runs
nothing and needs no solver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedopt.formulations.answer import Decision as Decision
    from fedopt.formulations.answer import no_plan as no_plan
    from fedopt.formulations.answer import to_plan as to_plan
    from fedopt.formulations.errors import ModelError as ModelError
    from fedopt.formulations.files import available as available
    from fedopt.formulations.files import find as find
    from fedopt.formulations.files import load as load
    from fedopt.formulations.given import given_paths as given_paths
    from fedopt.formulations.program import Curve as Curve
    from fedopt.formulations.program import Program as Program
    from fedopt.formulations.program import Route as Route
    from fedopt.formulations.running import solve as solve
    from fedopt.formulations.sizing import Sized as Sized
    from fedopt.formulations.sizing import prove as prove
    from fedopt.formulations.sizing import size_route as size_route

_HOME = {
    "Curve": "program",
    "Decision": "answer",
    "ModelError": "errors",
    "Program": "program",
    "Route": "program",
    "Sized": "sizing",
    "available": "files",
    "find": "files",
    "given_paths": "given",
    "load": "files",
    "no_plan": "answer",
    "prove": "sizing",
    "size_route": "sizing",
    "solve": "running",
    "to_plan": "answer",
}

__all__ = [
    "Curve",
    "Decision",
    "ModelError",
    "Program",
    "Route",
    "Sized",
    "available",
    "find",
    "given_paths",
    "load",
    "no_plan",
    "prove",
    "size_route",
    "solve",
    "to_plan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fedopt.formulations' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"fedopt.formulations.{_HOME[name]}"), name)
    return value
