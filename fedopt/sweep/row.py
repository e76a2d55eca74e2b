"""One row of a sweep: a case solved, whatever came of it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fedopt.solve import solve
from fedopt.sweep.cases import Case

if TYPE_CHECKING:
    from fedopt.plan import Plan

__all__ = ["RESULTS", "Row", "run_case"]


@dataclass(frozen=True)
class Row:
    """What came of a case.

    `status` is the plan's, "refused" where the instance or the options cannot be meant (`problem` says why),
    or "failed" for a defect. `admitted` counts heads. `seconds` is wall-clock time of the solve.
    """

    status: str
    cost: float | None = None
    lower_bound: float | None = None
    gap: float | None = None
    admitted: int | None = None
    seconds: float | None = None
    rounds: int | None = None
    problem: str | None = None

    @property
    def settled(self) -> bool:
        """Whether solving the case again would say the same: it was answered, not refused or broken off."""
        return self.status in ("optimal", "feasible", "infeasible", "limit")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)


RESULTS: dict[str, type] = {
    "status": str,
    "cost": float,
    "lower_bound": float,
    "gap": float,
    "admitted": int,
    "seconds": float,
    "rounds": int,
    "problem": str,
}
"""The fields of a row and what a table reads them back as."""


def run_case(case: Case) -> Row:
    """Solve a case. Nothing that goes wrong with it escapes: the row says what."""
    if case.instance is None:
        return Row("refused", problem=case.problem)
    started = time.perf_counter()
    try:
        instance = case.instance.with_(dict(case.changes)) if case.changes else case.instance
        plan = solve(
            instance,
            case.method,
            guarantee=case.guarantee,
            objective=case.objective,
            gap=case.gap,
            time_limit=case.time_limit,
            explain=False,
            simulation={"seed": case.seed},
        )
    except Exception as error:
        seconds = time.perf_counter() - started
        if hasattr(error, "exit_code"):
            return Row("refused", seconds=seconds, problem=" ".join(str(error).split()))
        return Row("failed", seconds=seconds, problem=f"{type(error).__name__}: {error}")
    return _row(plan, time.perf_counter() - started)


def _row(plan: Plan, seconds: float) -> Row:
    return Row(
        status=plan.status,
        cost=plan.cost,
        lower_bound=plan.lower_bound,
        gap=plan.gap,
        admitted=plan.admitted if plan.has_plan else None,
        seconds=seconds,
        rounds=len(plan.history),
        problem=plan.explanation[0].message if plan.explanation else None,
    )
