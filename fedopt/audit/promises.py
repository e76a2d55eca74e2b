"""What tenants were promised, from an instance and, where there is one, the plan that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedopt.audit.document import AuditError, Promise
from fedopt.instance import load
from fedopt.plan import Plan

__all__ = ["promises_of"]


def promises_of(instance: Path | None, plan: Path | None) -> tuple[Mapping[str, Promise], str | None]:
    """Promises by tenant id, where there is one tenant only also under "all", and the instance's unit of
    time.

    Raises AuditError where a plan comes without its instance, or with another one (a plan holds no
    deadlines).
    """
    if instance is None:
        raise AuditError("a plan holds no deadlines; give the instance too")
    document = load(instance)
    promises = {t.id: Promise(deadline=t.slo.deadline, epsilon=t.slo.epsilon) for t in document.tenants}
    if plan is not None:
        answer = Plan.load(plan)
        if answer.instance.sha256 != document.sha256:
            raise AuditError(
                f"{plan} is not a plan for {instance}: the instance has changed or is another one"
            )
        for entry in answer.tenants:
            if entry.id in promises and not entry.admitted:
                del promises[entry.id]
            elif entry.id in promises and entry.log_bound is not None:
                promises[entry.id] = promises[entry.id].model_copy(update={"log_bound": entry.log_bound})
    if len(promises) == 1:
        promises["all"] = next(iter(promises.values()))
    unit = document.units.time
    return promises, {"slot": None, "µs": "us"}.get(unit, unit)
