"""Whole plans for the loop: solved anew, with offers that have no contract where there are such.

Each tenant is planned in the variant that is cheapest for it at the prices (`fedopt.plan.stand_in`); where
the plan's own prices make another one cheaper by more than the gap allows, the plan is solved again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedopt.control.admission import Prices, lower_bound
from fedopt.control.pricing import Pricing
from fedopt.control.scenario import Planning
from fedopt.instance import Instance, Tenant
from fedopt.plan import InstanceReference, Plan
from fedopt.plan.document import TenantPlans, relative_gap
from fedopt.plan.guarantees import check_guarantee
from fedopt.plan.stand_in import Variant, planned, variants
from fedopt.solve import Objective, solve

__all__ = ["solved", "whom_to_serve"]

ROUNDS = 3
"""How often the variants are chosen anew, at most."""


def solved(
    pricing: Pricing,
    instance: Instance,
    planning: Planning,
    warm: Plan | None,
    prices: Mapping[str, float],
) -> Plan:
    """The instance planned anew at least cost; prices: of every offer, to choose variants by."""
    if not pricing.learned:
        return _solve(instance, pricing.guarantee, planning, warm)
    best = _in_variants(pricing, instance, planning, [pricing.variant(t, prices) for t in instance.tenants])
    if not best.has_plan:
        return _in_variants(pricing, instance, planning, [_open(pricing, t) for t in instance.tenants])
    bound, at = _certified(pricing, instance, best)
    for _ in range(ROUNDS - 1):
        gap = relative_gap(float(best.cost or 0.0), bound)
        if gap is not None and gap <= planning.replan_gap:
            break
        now = at.on(instance)
        other = _in_variants(pricing, instance, planning, [pricing.variant(t, now) for t in instance.tenants])
        if not other.has_plan or float(other.cost or 0.0) >= float(best.cost or 0.0):
            break
        best = other
        newer, at = _certified(pricing, instance, best)
        bound = max(bound, newer)
    return best.model_copy(update={"lower_bound": min(bound, float(best.cost or 0.0))})


def whom_to_serve(
    pricing: Pricing, instance: Instance, incumbents: frozenset[str], planning: Planning, warm: Plan | None
) -> set[str]:
    """Those served already and, in their order, the newcomers that can be served beside them.

    Where those served already cannot all go on (a domain has failed or shrunk), as many of them as possible,
    then as many newcomers, at least cost.
    """
    before = {tenant.id for tenant in instance.tenants if tenant.id in incumbents}
    if before and _can_be_served(pricing, instance, before, planning, warm):
        served = set(before)
        for tenant in instance.tenants:
            if tenant.id not in before and _can_be_served(
                pricing, instance, served | {tenant.id}, planning, warm
            ):
                served.add(tenant.id)
        return served
    return _most_worthy(pricing, instance, incumbents, planning, warm)


def _can_be_served(
    pricing: Pricing, instance: Instance, names: set[str], planning: Planning, warm: Plan | None
) -> bool:
    """Whether these can be served; all of an instance that was found infeasible cannot."""
    if len(names) == len(instance.tenants):
        return False
    these = instance.with_(tenants=tuple(t for t in instance.tenants if t.id in names))
    return solved(pricing, these, planning, warm, Prices({}, {}).on(instance)).has_plan


def _most_worthy(
    pricing: Pricing, instance: Instance, incumbents: frozenset[str], planning: Planning, warm: Plan | None
) -> set[str]:
    prices = Prices({}, {}).on(instance)
    least = [pricing.price(tenant, prices).least for tenant in instance.tenants]
    dear = 20.0 * max((value for value in least if math.isfinite(value)), default=1.0)
    worth = {True: 10.0 * dear, False: dear}
    paying = tuple(
        tenant.model_copy(update={"payment": worth[tenant.id in incumbents]}) for tenant in instance.tenants
    )
    asked = instance.with_(tenants=paying)
    if pricing.learned:
        asked, warm = planned(asked, [_open(pricing, tenant) for tenant in paying]).instance, None
    plan = _solve(asked, pricing.guarantee, planning, warm, "profit")
    return {entry.id for entry in plan.tenants if entry.admitted}


def _in_variants(pricing: Pricing, instance: Instance, planning: Planning, chosen: Sequence[Variant]) -> Plan:
    """The plan of the tenants in these variants, in the instance's own offers; its bound is not theirs."""
    standing_in = planned(instance, chosen)
    plan = _solve(standing_in.instance, pricing.guarantee, planning, None)
    entries = TenantPlans(standing_in.back(entry) for entry in plan.tenants)
    reference = InstanceReference(name=instance.name, sha256=instance.sha256)
    return plan.model_copy(
        update={"tenants": entries, "instance": reference, "lower_bound": None, "gap": None}
    )


def _certified(pricing: Pricing, instance: Instance, plan: Plan) -> tuple[float, Prices]:
    prices = Prices.of(plan)
    return lower_bound(pricing, prices, instance.tenants), prices


def _open(pricing: Pricing, tenant: Tenant) -> Variant:
    """The variant to which most ways are open: half of ε left to domains without a contract, where there
    are such.
    """
    found = variants(pricing.infrastructure, tenant)
    return found[len(found) // 2]


def _solve(
    instance: Instance, guarantee: str, planning: Planning, warm: Plan | None, objective: Objective = "cost"
) -> Plan:
    options: dict[str, Any] = {"effort": planning.effort} if planning.method == "central" else {}
    return solve(
        instance,
        planning.method,
        guarantee=check_guarantee(guarantee),
        objective=objective,
        gap=planning.gap,
        warm_start=warm,
        explain=False,
        **options,
    )
