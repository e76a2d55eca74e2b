"""One entry point for every method: `fedopt.solve(instance, method=…)`."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any, Literal, get_args

from fedopt.errors import InputError
from fedopt.instance import Instance, InstanceError, LearnedImpairment, Problem, load
from fedopt.kernels import clock
from fedopt.plan.basis import with_basis
from fedopt.plan.document import HistoryRow, Plan
from fedopt.plan.guarantees import MEASURED, Guarantee, check_guarantee
from fedopt.plan.milestones import refuse_milestones
from fedopt.plan.progress import Progress, round_line

Method = Literal["central", "admm", "bundle", "consensus"]
Objective = Literal["cost", "profit"]
OBJECTIVES = ("cost", "profit")

METHODS: tuple[str, ...] = get_args(Method)


class OptionError(InputError):
    """An option that does not exist or a value it cannot take; the message lists what there is."""


def solve(
    instance: Instance | str | os.PathLike[str],
    method: Method | str = "central",
    *,
    guarantee: Guarantee = "minplus",
    objective: Objective = "cost",
    gap: float = 1e-3,
    time_limit: float | None = None,
    warm_start: Plan | None = None,
    progress: Progress | None = None,
    verbose: bool = False,
    explain: bool = True,
    simulation: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plan:
    """Plan an instance: who is served on which path, at which rates, at what cost.

    Parameters
    ----------
    instance
        An instance, or the path of its file.
    method
        "central" (the optimum with a certificate), "admm" or "bundle" (operators negotiate and keep their
        costs and capacities), "consensus", or "model:NAME_OR_PATH" (a model file).
    guarantee
        What each tenant is promised. Under "simulated" the instance is planned under minplus, and simulation
        scales the reservations down to the least that it confirms: a measurement, not a theorem.
    objective
        "cost" serves all at the least cost, "profit" admits what pays.
    gap
        The relative gap to certify.
    time_limit
        Seconds after which the best plan found is returned.
    warm_start
        An earlier plan to start from.
    progress
        Called with a history row after every round; a true answer stops the solver at its best plan.
    verbose
        Log every round to the logger "fedopt", on stderr where no handler is set up.
    explain
        Say why, where the instance is infeasible.
    simulation
        Options of the guarantee "simulated": `seed`, `slots`, `confidence` and `threads`.
    **options
        Further options of the method.

    Returns
    -------
    Plan
        The plan. An infeasible instance is an answer (status "infeasible", with an explanation), no error.

    Raises
    ------
    OptionError
        If the method, the guarantee or the objective does not exist, or a number is out of range.
    InstanceError
        If the file of the instance cannot be used.

    Examples
    --------
    >>> import fedopt
    >>> plan = fedopt.solve(fedopt.examples()["quickstart"])
    >>> plan.status
    'optimal'
    """
    if not isinstance(instance, Instance):
        instance = load(instance)
    if verbose:
        progress = _logged(progress)
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
    return with_basis(plan, instance)


def _logged(progress: Progress | None) -> Progress:
    """The progress callback, with a line of the log for every round before it."""
    log = logging.getLogger("fedopt")
    if not log.hasHandlers():
        log.addHandler(logging.StreamHandler())
    log.setLevel(min(log.getEffectiveLevel(), logging.INFO))

    def logged(row: HistoryRow) -> bool | None:
        log.info(round_line(row))
        return None if progress is None else progress(row)

    return logged


def _with_contracts(instance: Instance) -> None:
    """Raises InstanceError with every offer that has no contract: a method would take it for one."""
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

    refuse_milestones(instance, f"the guarantee {MEASURED}")
    started = clock()
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
        seconds = clock() - started
        late = time_limit is not None and seconds >= time_limit
        return late or stopped or watched(HistoryRow(round=next(rounds), cost=plan.cost, seconds=seconds))

    measured = resize(plan, instance, **simulation, stop=stop)
    timing = {**plan.timing, "total": clock() - started}
    return with_basis(measured.model_copy(update={"timing": timing}), instance)


def check_method(method: str) -> None:
    """Raises OptionError, with the names there are, for a method that does not exist."""
    if method not in METHODS and not (method.startswith("model:") and len(method) > len("model:")):
        known = ", ".join((*METHODS, "model:NAME_OR_PATH"))
        raise OptionError(f"there is no method {method!r}; there are {known}")


def _solver(method: str) -> Callable[..., Plan]:
    """The function behind a method; imported here, so that one method does not load the others."""
    if method == "central":
        from fedopt import central

        return central.solve
    if method == "admm":
        from fedopt import federated

        return federated.solve
    if method == "bundle":
        from fedopt import federated

        return partial(federated.solve, method="bundle")
    from fedopt.federated import consensus

    return consensus.solve


def _check(objective: str, gap: float, time_limit: float | None) -> None:
    if objective not in OBJECTIVES:
        raise OptionError(f"there is no objective {objective!r}; there are {', '.join(OBJECTIVES)}")
    if not (math.isfinite(gap) and gap >= 0):
        raise OptionError(f"the gap must be a number ≥ 0, not {gap!r}")
    if time_limit is not None and not time_limit >= 0:
        raise OptionError(f"the time limit must be a number of seconds ≥ 0, not {time_limit!r}")
