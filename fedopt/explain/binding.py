"""What binds in a plan and what relaxing it is worth.

A capacity's worth is its price. A tenant's deadline and ε are worth what its own cheapest plan saves at the
plan's prices (offers at their marginal cost, capacity at its price): exact to first order by the envelope
theorem, and an upper bound on what the whole plan can save per unit, since the others' answer to the change
is left out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fedopt.explain.oracle import Feasibility, alone
from fedopt.plan.charges import offer_loads
from fedopt.plan.document import Plan

if TYPE_CHECKING:
    from fedopt.instance import Instance, Tenant

FULL = 1e-4
"""A capacity counts as used up when less than this part of it is left."""

TENANTS_VALUED = 10


@dataclass(frozen=True)
class Worth:
    """A binding constraint and what relaxing it is worth.

    `saving` is in units of cost, for the change given in words; `per_cent` the same of the plan's total cost.
    None where the method gives no prices.
    """

    constraint: str
    place: str
    change: str
    saving: float | None
    per_cent: float | None
    message: str

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)


def worths(instance: Instance, plan: Plan, feasible: Feasibility) -> list[Worth]:
    """What binds in the plan, the most valuable first: full capacities, then deadlines and ε of the costliest
    tenants, then largest rates that are used up."""
    found = [*_capacities(instance, plan), *_promises(instance, plan, feasible), *_rates(instance, plan)]
    return sorted(found, key=lambda worth: -(worth.saving or 0.0))


def _capacities(instance: Instance, plan: Plan) -> list[Worth]:
    found = []
    unit = f"{instance.units.work}/{instance.units.time}"
    for domain in plan.domains:
        spare = domain.reserved < domain.capacity * (1 - FULL) and not (domain.price or 0.0) > 1e-9
        if spare or domain.capacity == 0:
            continue
        change = f"1 {unit} more capacity in {domain.id}"
        part = 100 * domain.reserved / domain.capacity
        used = f"{domain.id} has {domain.capacity:g} {unit}, {part:.1f} % used"
        if domain.price is None:
            message = f"{used}; this method gives no price"
        else:
            message = f"{used}: {change} saves {domain.price:.4g}"
        found.append(
            Worth(
                "capacity",
                f"domains.{domain.id}.capacity",
                change,
                domain.price,
                _per_cent(domain.price, plan),
                message,
            )
        )
    return found


def _promises(instance: Instance, plan: Plan, feasible: Feasibility) -> list[Worth]:
    """Ten per cent more deadline, and twice the ε, for each of the costliest tenant groups."""
    costs: dict[str, float] = {}
    units: dict[str, int] = {}
    for entry in plan.tenants:
        if entry.admitted:
            costs[entry.id] = costs.get(entry.id, 0.0) + entry.cost
            units[entry.id] = units.get(entry.id, 0) + entry.count
    costliest = sorted(costs, key=lambda name: -costs[name])[:TENANTS_VALUED]
    priced = at_prices(instance, plan)
    found = []
    for name in costliest:
        if feasible.budget.spent:
            break
        tenant = instance.tenant(name)
        base = _cost_alone(priced, tenant, {}, feasible)
        if base is None:
            continue
        deadline, epsilon = 1.1 * tenant.slo.deadline, min(2 * tenant.slo.epsilon, 0.5)
        time = instance.units.time
        for field, value, change in (
            ("deadline", deadline, f"{deadline - tenant.slo.deadline:.4g} {time} more deadline for {name}"),
            ("epsilon", epsilon, f"ε = {epsilon:g} for {name} instead of {tenant.slo.epsilon:g}"),
        ):
            place = f"tenants.{name}.slo.{field}"
            relaxed = _cost_alone(priced, tenant, {place: value}, feasible)
            if relaxed is None or relaxed >= base:
                continue
            saving = units[name] * (base - relaxed)
            per_cent = _per_cent(saving, plan)
            share = "" if per_cent is None else f" ({per_cent:.2g} %)"
            message = f"{change} saves {saving:.4g}{share}"
            found.append(Worth(field, place, change, saving, per_cent, message))
    return found


def _rates(instance: Instance, plan: Plan) -> list[Worth]:
    found = []
    seen = set()
    for entry in plan.tenants:
        for hop, (domain, offer_id) in zip(entry.path, entry.hops(), strict=True):
            limit = instance.offer(hop)[1].max_rate
            if limit is None or entry.reservations[domain] < limit * (1 - FULL) or (entry.id, hop) in seen:
                continue
            seen.add((entry.id, hop))
            found.append(
                Worth(
                    "max-rate",
                    f"domains.{domain}.offers.{offer_id}.max_rate",
                    f"a larger rate for {entry.id} in {hop}",
                    None,
                    None,
                    f"{entry.id} reserves the largest rate that {hop} gives a tenant ({limit:g})",
                )
            )
    return found


def at_prices(instance: Instance, plan: Plan) -> Instance:
    """The instance as a tenant sees it at the plan's prices: linear costs, the price of capacity included."""
    prices = {domain.id: domain.price or 0.0 for domain in plan.domains}
    loads = offer_loads(plan.tenants)
    domains = []
    for domain in instance.domains:
        offers = []
        for offer in domain.offers:
            slope = float(offer.cost.marginal(loads.get(f"{domain.id}/{offer.id}", 0.0)))
            rate = slope + prices.get(domain.id, 0.0) * offer.work_factor
            cost = {"model": "linear", "rate": max(rate, 0.0), "fixed": float(offer.cost.fixed)}
            offers.append({**dict(offer), "cost": cost})
        domains.append({**dict(domain), "offers": offers})
    return instance.with_(domains=domains)


def _cost_alone(
    priced: Instance, tenant: Tenant, change: dict[str, float], feasible: Feasibility
) -> float | None:
    single = alone(priced, tenant)
    plan = feasible.plan(single.with_(change) if change else single, gap=1e-6)
    return plan.cost if plan.has_plan else None


def _per_cent(saving: float | None, plan: Plan) -> float | None:
    if saving is None or not plan.cost:
        return None
    return 100.0 * saving / abs(plan.cost)
