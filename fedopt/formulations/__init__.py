"""Model files: finding them, running them, and the data and documents that they share.

A model file defines `build(instance, **options)`, `solve(model, gap, time_limit)` and `extract(model) ->
Plan`; its docstring states the mathematics.
"""

from fedopt.formulations.answer import Decision, no_plan, to_plan
from fedopt.formulations.files import available, find, load
from fedopt.formulations.given import given_paths
from fedopt.formulations.program import Curve, ModelError, Program, Route
from fedopt.formulations.running import solve
from fedopt.formulations.sizing import Sized, prove, size_route

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
