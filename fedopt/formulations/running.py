"""Running a model file: build, solve, extract, with errors that name the file and the step."""

from __future__ import annotations

import inspect
import time
from types import ModuleType
from typing import Any

from fedopt.formulations.errors import ModelError
from fedopt.formulations.files import _line, find, load
from fedopt.instance import Instance
from fedopt.plan.document import Plan
from fedopt.plan.milestones import refuse_milestones

__all__ = ["solve"]

DEFAULT_GUARANTEE = "minplus"


def solve(
    instance: Instance,
    name_or_path: str,
    *,
    guarantee: str = DEFAULT_GUARANTEE,
    objective: str = "cost",
    gap: float = 1e-3,
    time_limit: float | None = None,
    **options: Any,
) -> Plan:
    """Solve an instance with a model file, by the name it comes under or by its path.

    A model states the guarantees and objectives it knows (`GUARANTEES`, `OBJECTIVES`); where it does not know
    the default guarantee its own first one is used, which the plan says. Further options go to the model's
    `build`. Raises ModelError for an unknown model, an option it does not take, and a file that fails.
    """
    refuse_milestones(instance, f"the model {name_or_path}")
    module = load(name_or_path)
    path = find(name_or_path)
    guarantees = getattr(module, "GUARANTEES", (guarantee,))
    objectives = getattr(module, "OBJECTIVES", (objective,))
    note = None
    if guarantee not in guarantees and guarantee.partition(":")[0] not in guarantees:
        if guarantee != DEFAULT_GUARANTEE:
            raise ModelError(f"{path.stem}: knows the guarantees {', '.join(guarantees)}, not {guarantee!r}")
        guarantee = guarantees[0]
        note = f"The model {path.stem} plans under the guarantee {guarantee}."
    if objective not in objectives:
        raise ModelError(f"{path.stem}: knows the objectives {', '.join(objectives)}, not {objective!r}")
    given = {"guarantee": guarantee, "objective": objective, "gap": gap, "time_limit": time_limit}
    started = time.perf_counter()
    model = _step(module, path, "build", instance, **_accepted(module, path, given, options))
    _step(module, path, "solve", model, gap=gap, time_limit=time_limit)
    plan = _step(module, path, "extract", model)
    if not isinstance(plan, Plan):
        raise ModelError(f"{path}: extract must return a Plan, not {type(plan).__name__}")
    timing = {**plan.timing, "total": time.perf_counter() - started}
    notes = [*plan.notes, note] if note else plan.notes
    return plan.model_copy(update={"timing": timing, "notes": notes, "method": f"model:{path.stem}"})


def _accepted(
    module: ModuleType, path: Any, given: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """The arguments for build: the common ones it names, and all options, which it must name."""
    parameters = inspect.signature(module.build).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return {**given, **options}
    unknown = [name for name in options if name not in parameters]
    if unknown:
        known = [name for name in list(parameters)[1:] if name not in given]
        raise ModelError(
            f"{path.stem}: does not take {', '.join(unknown)}; its options are {', '.join(known) or '(none)'}"
        )
    return {name: value for name, value in given.items() if name in parameters} | options


def _step(module: ModuleType, path: Any, name: str, *arguments: Any, **options: Any) -> Any:
    function = getattr(module, name)
    if name == "solve":
        parameters = inspect.signature(function).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            options = {key: value for key, value in options.items() if key in parameters}
    try:
        return function(*arguments, **options)
    except Exception as error:
        if hasattr(error, "exit_code"):
            raise
        raise ModelError(
            f"{path}{_line(error, path.resolve())}: {name} failed: {type(error).__name__}: {error}"
        ) from error
