"""One entry point for every method: `fedopt.solve(instance, method=…)`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any

from fedopt.errors import InputError
from fedopt.plan.document import HistoryRow, Plan
from fedopt.plan.guarantees import MEASURED, check_guarantee
from fedopt.plan.progress import Progress

if TYPE_CHECKING:
    from fedopt.instance import Instance

OBJECTIVES = ("cost", "profit")

METHODS: dict[str, str] = {
    "central": "fedopt.central",
    "admm": "fedopt.federated",
    "bundle": "fedopt.federated.bundle",
    "consensus": "fedopt.federated.consensus",
}
"""Methods by name and the package whose `solve` they are; those that are installed count."""


class OptionError(InputError):
    """An option that does not exist or a value it cannot take; the message lists what there is."""


def solve(
    instance: Instance,
    method: str = "central",
    *,
    guarantee: str = "minplus",
    objective: str = "cost",
    gap: float = 1e-3,
    time_limit: float | None = None,
    warm_start: Plan | None = None,
    progress: Progress | None = None,
    explain: bool = True,
    simulation: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """Plan an instance.

    `method` is "central" or "model:NAME_OR_PATH" (a model file), `guarantee` what each tenant is promised,
    `objective` "cost" (serve all at least cost) or "profit" (admit what pays), `gap` the relative gap to
    certify, `time_limit` in seconds. `progress` is called after every round and stops the solver by a true
    answer. Further options go to the method.

    Under the guarantee "simulated" the instance is planned under minplus, and simulation scales the
    reservations down to the least that it confirms (`fedopt.simulate.simulated`): a measurement, not a
    theorem. `simulation` holds its options: `seed`, `slots`, `confidence` and `threads`.

    An infeasible instance is an answer (status "infeasible", with an explanation), not an error.
    Raises OptionError for an unknown method, guarantee or objective, or a number out of range.
    """
    guarantee = check_guarantee(guarantee)
    _check(objective, gap, time_limit)
    check_method(method)
    _with_contracts(instance)
    if guarantee == MEASURED:
        given = {"objective": objective, "gap": gap, "warm_start": warm_start, "explain": explain, **options}
        return _measured(instance, method, time_limit, progress, dict(simulation or {}), given)
    if method.startswith("model:") and warm_start is not None:
        raise OptionError("a model cannot start from an earlier plan; leave the warm start out")
    common: dict[str, Any] = {
        "guarantee": guarantee,
        "objective": objective,
        "gap": gap,
        "time_limit": time_limit,
        **options,
    }
    if method.startswith("model:"):
        from fedopt import formulations

        plan = formulations.solve(instance, method.removeprefix("model:"), **common)
    else:
        plan = _solver(method)(instance, warm_start=warm_start, progress=progress, **common)
    if explain and plan.status == "infeasible" and not any(reason.remedies for reason in plan.explanation):
        from fedopt.explain import infeasibility

        reasons = infeasibility(instance, guarantee)
        plan = plan.model_copy(update={"explanation": reasons or plan.explanation})
    return plan


def _with_contracts(instance: Instance) -> None:
    """Raises InstanceError with every offer that has no contract: a method would take it for one."""
    from fedopt.instance import InstanceError, LearnedImpairment, Problem

    message = "the offer has no contract, so nothing follows from it that a plan could promise"
    remedy = (
        "plan with fedopt operate or fedopt intent, which weigh what was learned of it, or give a contract"
    )
    problems = [
        Problem(f"domains[{i}].offers[{j}].impairment", message, remedy)
        for i, domain in enumerate(instance.domains)
        for j, offer in enumerate(domain.offers)
        if isinstance(offer.impairment, LearnedImpairment)
    ]
    if problems:
        raise InstanceError(problems, source=f"instance {instance.name!r}")


def _measured(
    instance: Instance,
    method: str,
    time_limit: float | None,
    progress: Progress | None,
    simulation: dict[str, Any],
    given: dict[str, Any],
) -> Plan:
    """A minplus plan scaled down by simulation; the minplus answer itself where there is no plan."""
    from fedopt.simulate.simulated import resize

    started = time.perf_counter()
    stopped = False

    def watched(row: HistoryRow) -> bool:
        nonlocal stopped
        stopped = stopped or bool(progress is not None and progress(row))
        return stopped

    plan = solve(instance, method, time_limit=time_limit, progress=watched, **given)
    if not plan.has_plan:
        note = (
            f"The guarantee {MEASURED} starts from a plan under {plan.guarantee}, and there is none; what "
            "simulation alone would confirm was not searched."
        )
        return plan.model_copy(update={"notes": [*plan.notes, note]})
    rounds = count(len(plan.history) + 1)

    def stop() -> bool:
        seconds = time.perf_counter() - started
        late = time_limit is not None and seconds >= time_limit
        return late or stopped or watched(HistoryRow(round=next(rounds), cost=plan.cost, seconds=seconds))

    measured = resize(plan, instance, **simulation, stop=stop)
    timing = {**plan.timing, "total": time.perf_counter() - started}
    return measured.model_copy(update={"timing": timing})


def available_methods() -> list[str]:
    """The names `method` can take here; "model:NAME_OR_PATH" stands for the model files."""
    return [*(name for name, package in METHODS.items() if _installed(package)), "model:NAME_OR_PATH"]


def check_method(method: str) -> None:
    """Raises OptionError, with the names there are, for a method that does not exist here."""
    if not (method.startswith("model:") and len(method) > len("model:")):
        package = METHODS.get(method)
        if package is None or not _installed(package):
            raise OptionError(f"there is no method {method!r}; there are {', '.join(available_methods())}")


def _solver(method: str) -> Callable[..., Plan]:
    solver: Callable[..., Plan] = import_module(METHODS[method]).solve
    return solver


def _installed(package: str) -> bool:
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.origin is not None


def _check(objective: str, gap: float, time_limit: float | None) -> None:
    if objective not in OBJECTIVES:
        raise OptionError(f"there is no objective {objective!r}; there are {', '.join(OBJECTIVES)}")
    if not (math.isfinite(gap) and gap >= 0):
        raise OptionError(f"the gap must be a number ≥ 0, not {gap!r}")
    if time_limit is not None and not time_limit >= 0:
        raise OptionError(f"the time limit must be a number of seconds ≥ 0, not {time_limit!r}")
