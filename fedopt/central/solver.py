"""The central method: relaxation, whole units, plan."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fedopt.central.certificate import bound_on_all
from fedopt.central.free_rates import with_free_rates
from fedopt.central.generation import Relaxation, generate
from fedopt.central.initial import columns_of, duals_of, rough_start
from fedopt.central.integer import Choice, last_resort, proven_plan
from fedopt.central.master import Duals, Master
from fedopt.central.report import domain_plans, instance_reference, tenant_plans
from fedopt.central.run import Run
from fedopt.kernels import clock
from fedopt.plan import Explanation, Plan, TenantPlans
from fedopt.plan.progress import Progress
from fedopt.pricing import Abandoned, Column, Network, Oracle, sizing_for

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["solve"]


def solve(
    instance: Instance,
    *,
    guarantee: str = "minplus",
    objective: str = "cost",
    gap: float = 1e-3,
    time_limit: float | None = None,
    warm_start: Plan | None = None,
    progress: Progress | None = None,
    effort: int | None = None,
) -> Plan:
    """Plan an instance centrally: an optimum over paths and reservations with a certified relative gap.

    effort: nodes that a mixed-integer search may take. The answer then depends on no clock (as it may
    otherwise, for parts of the search are given some seconds), and may have a larger gap than was asked for.

    Status "optimal" where the gap is met over the guarantee's catalogue of reservations (see
    `fedopt.pricing.sizing`), "feasible" where a limit came first, "limit" where it came before any plan,
    "infeasible" where the relaxation or the enumerated program proves that there is none.  The plan's lower
    bound, and with it its gap, holds for all reservations that any form of the guarantee proves; the bound
    over the catalogue is stated beside it.
    """
    started = clock()
    profit = objective == "profit"
    network = Network(instance, paid=profit)
    oracle = Oracle(network, sizing_for(guarantee, network))
    deadline = started + time_limit if time_limit is not None else math.inf
    run = Run(started, deadline, progress, effort)
    try:
        return _solve(network, oracle, guarantee, objective, gap, warm_start, run)
    finally:
        oracle.keep()


def _solve(
    network: Network,
    oracle: Oracle,
    guarantee: str,
    objective: str,
    gap: float,
    warm_start: Plan | None,
    run: Run,
) -> Plan:
    profit = objective == "profit"
    about = _About(network, guarantee, objective, run.started)
    try:
        seeds, price, unroutable = _seed(network, oracle, run)
    except Abandoned:
        return about.limit(run)
    if unroutable and not profit:
        return about.infeasible(unroutable)
    if warm_start is not None:
        seeds.extend(columns_of(warm_start, network, oracle))
    start = None if warm_start is None else duals_of(warm_start, network)
    if oracle.large and start is None:
        more, start = rough_start(network, oracle, seeds, Master(network, profit, price), run)
        seeds.extend(more)
    master = Master(network, profit, price)
    master.add(seeds)
    settings = run.settings
    share = settings.large_relaxation_share if oracle.large else settings.relaxation_share
    relaxation = generate(master, oracle, run, share * gap, start)
    for _ in range(settings.overflow_raises):
        if not _overflows(relaxation, network) or run.closing():
            break
        price *= 30.0
        master.set_overflow_price(price)
        relaxation = generate(master, oracle, run, share * gap)
    if _overflows(relaxation, network) and not run.closing():
        return about.infeasible(_short(network, relaxation))
    choice = None
    if math.isfinite(relaxation.bound):  # else there was no time for a single bound
        if oracle.sizing.points:
            choice = proven_plan(master, oracle, relaxation, run, gap)
        else:
            from fedopt.central.regions import proven_region_plan

            choice = proven_region_plan(master, oracle, relaxation, run, gap)
    if choice is None:
        choice = last_resort(master, relaxation, run, gap)
    if choice is None:
        return about.limit(run)
    if not math.isfinite(choice.cost):
        return about.infeasible(_indivisible())
    choice = with_free_rates(master, oracle, choice, relaxation.duals, run)
    everything = bound_on_all(network, oracle, profit, relaxation.duals, run)
    return about.plan(choice, relaxation.duals, run, gap, everything)


def _seed(network: Network, oracle: Oracle, run: Run) -> tuple[list[Column], float, list[Explanation]]:
    """The cheapest column of every kind at list prices and a first overflow price; or why some kind has
    none."""
    prices = network.prices_of_rates()
    columns: list[Column] = []
    reasons, dearest = [], 0.0
    for kind, found in zip(network.kinds, oracle.first(prices, run.expired), strict=True):
        if found:
            columns.extend(found)
            used = float((network.factor[found[0].offers] * found[0].rates).sum())
            dearest = max(dearest, found[0].cost(prices) / used)
        else:
            names = ", ".join(tenant for tenant, _ in kind.tenants[:3]) + (
                "…" if len(kind.tenants) > 3 else ""
            )
            empty = not network.has_path(kind)
            reasons.append(
                Explanation(
                    tenant=kind.tenants[0][0],
                    constraint="path" if empty else "guarantee",
                    message=f"{names}: no admissible path leaves anything of the deadline"
                    if empty
                    else f"{names}: no admissible path meets the deadline with ε at any reservation allowed",
                )
            )
    return columns, 20.0 * max(dearest, 1e-9), reasons


def _overflows(relaxation: Relaxation, network: Network) -> bool:
    return bool((relaxation.solution.overflow > 1e-7 * network.capacity).any())


def _short(network: Network, relaxation: Relaxation) -> list[Explanation]:
    return [
        Explanation(
            domain=network.domain_ids[d],
            constraint="capacity",
            message=f"{network.domain_ids[d]} would need {missing / network.slot:.6g} more capacity",
        )
        for d, missing in enumerate(relaxation.solution.overflow)
        if missing > 1e-7 * network.capacity[d]
    ]


def _indivisible() -> list[Explanation]:
    message = "the capacities suffice only if a tenant could be split over paths; whole ones do not fit"
    return [Explanation(constraint="capacity", message=message)]


class _About:
    """What every plan of one solve says of itself."""

    def __init__(self, network: Network, guarantee: str, objective: str, started: float) -> None:
        self.network = network
        self.started = started
        self.common: dict[str, Any] = {
            "instance": instance_reference(network),
            "method": "central",
            "guarantee": guarantee,
            "objective": objective,
        }

    def _timing(self) -> dict[str, float]:
        return {"total": clock() - self.started}

    def infeasible(self, explanation: list[Explanation]) -> Plan:
        return Plan(**self.common, status="infeasible", timing=self._timing(), explanation=explanation)

    def limit(self, run: Run) -> Plan:
        bound = run.lower_bound if math.isfinite(run.lower_bound) else None
        return Plan(
            **self.common, status="limit", catalogue_bound=bound, timing=self._timing(), history=run.history
        )

    def plan(self, choice: Choice, duals: Duals, run: Run, gap: float, everything: float) -> Plan:
        entries = tenant_plans(self.network, choice.columns, choice.units)
        cost = math.fsum(entry.cost for entry in entries)
        if self.common["objective"] == "profit":
            paid = {tenant.id: tenant.payment for tenant in self.network.instance.tenants}
            cost -= math.fsum(entry.count * paid[entry.id] for entry in entries if entry.admitted)
        complete = cost - choice.bound <= gap * abs(cost)
        return Plan(
            **self.common,
            status="optimal" if complete else "feasible",
            cost=cost,
            lower_bound=min(everything, cost),
            catalogue_bound=min(choice.bound, cost),
            tenants=TenantPlans(entries),
            domains=domain_plans(self.network, entries, duals),
            timing=self._timing(),
            history=run.history,
        )
