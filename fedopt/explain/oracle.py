"""The one question an explanation asks of the solvers: has this instance a plan?"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from fedopt.plan.document import Plan

if TYPE_CHECKING:
    from fedopt.instance import Instance, Tenant

Solver = Callable[..., Plan]
"""`solve(instance, guarantee=…, objective=…, gap=…, time_limit=…) -> Plan`; the central method unless
replaced."""

HALF = 0.5
"""Gap at which the search for any plan at all stops."""


Shortfall = Callable[["Instance", str], dict[str, float]]
"""(instance, guarantee) → extra capacity by domain id with which the tenants, split over paths, would fit."""


class Budget:
    """Seconds of wall-clock time that an explanation may take; what is left is given to its solves."""

    def __init__(self, seconds: float = math.inf) -> None:
        self._end = monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(self._end - monotonic(), 0.0)

    @property
    def spent(self) -> bool:
        """Whether there is no time left."""
        return self.left <= 0.0


class Feasibility:
    """Answers whether an instance has a plan under a guarantee, by solving it.

    An instance whose solve hits the time budget counts as infeasible: a remedy is named only when a plan was
    found.
    `shortfall` is the central method's, or None with another solver: then every domain is tried in turn.
    """

    def __init__(self, guarantee: str, budget: Budget, solver: Solver | None = None) -> None:
        self.shortfall: Shortfall | None = None
        if solver is None:
            from fedopt import central

            solver, self.shortfall = central.solve, central.shortfall
        self.guarantee = guarantee
        self.budget = budget
        self._solver = solver

    def __call__(self, instance: Instance) -> bool:
        return self.plan(instance, gap=HALF).has_plan

    def plan(self, instance: Instance, gap: float) -> Plan:
        """A plan of the instance within the time left, serving all."""
        limit = None if math.isinf(self.budget.left) else max(self.budget.left, 0.05)
        return self._solver(instance, guarantee=self.guarantee, objective="cost", gap=gap, time_limit=limit)


class InCompany(Feasibility):
    """Answers for one tenant by itself, and then for it together with others: a change counts only where both
    have a plan, so a remedy that is found for a tenant mends its instance too."""

    def __init__(self, feasible: Feasibility, tenant: Tenant, others: tuple[Tenant, ...]) -> None:
        self.__dict__.update(feasible.__dict__)
        self.tenant, self.others = tenant, others

    def __call__(self, instance: Instance) -> bool:
        if not super().__call__(instance):
            return False
        if self.tenant.count == 1 and not self.others:
            return True
        (changed,) = instance.tenants
        crowd = changed.model_copy(update={"count": self.tenant.count})
        return super().__call__(instance.with_(tenants=(crowd, *self.others)))


def alone(instance: Instance, tenant: Tenant) -> Instance:
    """The instance with one unit of one tenant group and no other."""
    one = tenant if tenant.count == 1 else tenant.model_copy(update={"count": 1})
    return instance.with_(tenants=(one,))


def least(
    feasible: Callable[[float], bool], start: float, limit: float, precision: float = 1e-3
) -> float | None:
    """The value nearest to `start` on the way to `limit` from which on `feasible` holds, or None if it never
    does.

    Both are positive; `feasible` must be false at `start` and monotone on the way. The search is geometric:
    first in growing steps, then by bisection of the ratio down to a relative `precision`; the answer is a
    value at which `feasible` was seen to hold.
    """
    direction = 1.0 if limit > start else -1.0
    low, step = start, 1.25
    while True:
        high = low * step**direction
        high = min(high, limit) if direction > 0 else max(high, limit)
        if feasible(high):
            break
        if high == limit:
            return None
        low, step = high, step**1.6
    while abs(math.log(high / low)) > precision:
        middle = math.sqrt(low * high)
        if feasible(middle):
            high = middle
        else:
            low = middle
    return _shorter(feasible, low, high)


def exact(value: float) -> str:
    """A value in digits enough that what was seen to hold of it holds of what is written."""
    return f"{value:.17g}" if float(f"{value:.12g}") != value else f"{value:.12g}"


def _shorter(feasible: Callable[[float], bool], low: float, high: float) -> float:
    """A feasible value of few digits between `low` (infeasible) and a little beyond `high`, or `high`."""
    beyond = high * (high / low) ** 2
    for digits in (1, 2, 3, 4):
        unit = 10.0 ** (math.floor(math.log10(high)) - digits + 1)
        for whole in (math.floor(high / unit), math.ceil(high / unit)):
            value = float(f"{whole * unit:.{digits + 1}g}")
            if min(low, beyond) < value < max(low, beyond) and feasible(value):
                return value
    unit = 10.0 ** (math.floor(math.log10(high)) - 5)
    value = float(f"{(math.ceil if high > low else math.floor)(high / unit) * unit:.7g}")
    return value if feasible(value) else high
