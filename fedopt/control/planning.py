"""What to do at the start of a period: keep what still holds, patch it, or plan anew.

Whole plans for the loop: solved anew, with offers that have no contract where there are such.

Each tenant is planned in the variant that is cheapest for it at the prices (`fedopt.plan.stand_in`); where
the plan's own prices make another one cheaper by more than the gap allows, the plan is solved again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fedopt.control.admission import (
    Ledger,
    Prices,
    Pricing,
    admit,
    catalogue_bound,
    improve,
    lower_bound,
    tenant_class,
    total_cost,
)
from fedopt.control.scenario import Planning
from fedopt.control.settings import SETTINGS
from fedopt.errors import FedoptError
from fedopt.instance import Instance, Tenant
from fedopt.plan import DomainPlan, InstanceReference, Plan, TenantPlan
from fedopt.plan.basis import learned_note, learned_violations, with_basis
from fedopt.plan.charges import domain_loads, entry_costs, offer_loads
from fedopt.plan.document import TenantPlans, relative_gap
from fedopt.plan.guarantees import check_guarantee
from fedopt.plan.paths import Paths
from fedopt.plan.promises import promise_violations
from fedopt.plan.stand_in import Variant, planned, variants
from fedopt.solve import Objective, solve

__all__ = ["Decision", "PlanningError", "Standing", "decide", "solved", "stated", "whom_to_serve"]


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
    for _ in range(SETTINGS.variant_rounds - 1):
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
    return best.model_copy(update={"catalogue_bound": min(bound, float(best.cost or 0.0))})


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
    unknown = {"lower_bound": None, "gap": None, "catalogue_bound": None}
    return plan.model_copy(update={"tenants": entries, "instance": reference, **unknown})


def _certified(pricing: Pricing, instance: Instance, plan: Plan) -> tuple[float, Prices]:
    prices = Prices.of(plan)
    return catalogue_bound(pricing, prices, instance.tenants), prices


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


Mode = Literal["kept", "patched", "planned"]


class PlanningError(FedoptError, RuntimeError):
    """A period that could not be planned although limits were not the reason."""

    exit_code = 3


@dataclass(frozen=True)
class Standing:
    """The plan in force and the prices that certify what is patched into it.

    proven: on which infrastructure, and for which kinds of tenants, its entries are known to prove their
    promises; what is not there is proven again.
    """

    plan: Plan
    prices: Prices
    proven: tuple[Pricing, Mapping[str, str]] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Decision:
    """The plan of a period, for `instance`.

    mode: kept (nobody moved), patched (newcomers placed, some moved, at standing prices), planned (solved
    anew). refused: newcomers for whom there is no room; suspended: tenants that lost their place.
    """

    instance: Instance
    standing: Standing
    mode: Mode
    placed: int
    moved: int
    refused: tuple[str, ...] = ()
    suspended: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        """The plan of the period."""
        return self.standing.plan


def decide(
    pricing: Pricing,
    tenants: Sequence[Tenant],
    standing: Standing | None,
    planning: Planning,
    suspended: frozenset[str] = frozenset(),
) -> Decision:
    """Serve the tenants on the pricing's infrastructure, starting from the plan in force.

    Entries that no longer prove their promise, or whose domain has no room, are placed again beside the
    newcomers. Where the certified gap of the patched plan is above `planning.replan_gap`, or somebody finds
    no place, everything is planned anew from there. suspended: tenants that were admitted and have no entry.
    """
    known = {} if standing is None else {entry.id: entry for entry in standing.plan.tenants if entry.admitted}
    incumbents = suspended | known.keys()
    if not tenants:
        empty = pricing.infrastructure
        nobody = stated(empty, [], Prices({}, {}), (0.0, 0.0), "kept")
        return Decision(empty, Standing(nobody, Prices({}, {})), "kept", 0, 0)
    instance = pricing.infrastructure.with_(tenants=tuple(tenants))
    if standing is None:
        return _anew(pricing, instance, None, known, incumbents, planning)
    if standing.plan.instance.sha256 == instance.sha256:  # nothing has changed; nor has its certificate
        return Decision(instance, standing, "kept", 0, 0)
    ledger = Ledger(instance, _proven(instance, pricing, tenants, known, standing))
    evicted = _make_room(ledger)
    waiting = [tenant for tenant in tenants if tenant.id not in ledger.entries]
    on = standing.prices.on(instance)
    stuck = [tenant.id for tenant in waiting if not admit(ledger, pricing, on, tenant)]
    if stuck:
        return _anew(pricing, instance, standing, known, incumbents, planning)
    moved = sum(tenant.id in known for tenant in waiting)
    prices = standing.prices
    answer = _gap(pricing, ledger, tenants, prices)
    if answer > planning.replan_gap:
        prices = Prices(_loads(ledger, tenants), prices.capacity)
        moved += improve(ledger, pricing, prices.on(instance), tenants, 0.2 * planning.gap)
        prices = Prices(_loads(ledger, tenants), prices.capacity)
        answer = _gap(pricing, ledger, tenants, prices)
    if answer > planning.replan_gap:
        return _anew(pricing, instance, standing, known, incumbents, planning)
    mode: Mode = "patched" if waiting or moved or evicted else "kept"
    entries = [ledger.entries[tenant.id] for tenant in tenants]
    bounds = lower_bound(pricing, prices, tenants), catalogue_bound(pricing, prices, tenants)
    plan = stated(instance, entries, prices, bounds, mode, pricing.guarantee, planning.gap)
    return Decision(
        instance,
        Standing(plan, prices, _kinds(pricing, tenants)),
        mode,
        len(waiting) - sum(t.id in known for t in waiting),
        moved,
    )


def _kinds(pricing: Pricing, tenants: Sequence[Tenant]) -> tuple[Pricing, dict[str, str]]:
    return pricing, {tenant.id: tenant_class(tenant) for tenant in tenants}


def _proven(
    instance: Instance,
    pricing: Pricing,
    tenants: Sequence[Tenant],
    known: dict[str, TenantPlan],
    standing: Standing,
) -> dict[str, TenantPlan]:
    """The entries that still prove what their tenants are promised now."""
    paths = Paths(instance)
    same, kinds = standing.proven or (None, {})
    verdicts: dict[tuple[object, ...], bool] = {}
    kept = {}
    for tenant in tenants:
        entry = known.get(tenant.id)
        if entry is None:
            continue
        kind = tenant_class(tenant)
        if same is pricing and kinds.get(tenant.id) == kind:
            kept[tenant.id] = entry
            continue
        key = (
            kind,
            tuple(entry.path),
            tuple(entry.reservations.values()),
            entry.form,
            entry.theta,
            tuple(entry.learned.items()),
        )
        if key not in verdicts:
            verdicts[key] = _proves(instance, paths, entry, pricing.guarantee)
        if verdicts[key]:
            kept[tenant.id] = entry
    return kept


def _proves(instance: Instance, paths: Paths, entry: TenantPlan, guarantee: str) -> bool:
    """Whether an entry's promise follows from contracts, and from what is learned where there are none."""
    if next(learned_violations(instance, entry, SETTINGS.proof_tolerance), None) is not None:
        return False
    found = promise_violations(
        paths.entry(entry), paths.rates(entry), entry, guarantee, SETTINGS.proof_tolerance
    )
    return next(iter(found), None) is None


def _make_room(ledger: Ledger) -> int:
    """Take the latest entries out of domains that are over their capacity; returns how many."""
    taken = 0
    for domain in ledger.instance.domains:
        for name in reversed(list(ledger.entries)):
            if ledger.used[domain.id] <= domain.capacity * (1 + 1e-9):
                break
            if domain.id in ledger.entries[name].reservations:
                ledger.take(name)
                taken += 1
    return taken


def _loads(ledger: Ledger, tenants: Sequence[Tenant]) -> dict[str, float]:
    return offer_loads([ledger.entries[tenant.id] for tenant in tenants])


def _gap(pricing: Pricing, ledger: Ledger, tenants: Sequence[Tenant], prices: Prices) -> float:
    cost = total_cost(ledger.instance, [ledger.entries[tenant.id] for tenant in tenants])
    gap = relative_gap(cost, min(catalogue_bound(pricing, prices, tenants), cost))
    return math.inf if gap is None else gap


def _anew(
    pricing: Pricing,
    instance: Instance,
    standing: Standing | None,
    known: dict[str, TenantPlan],
    incumbents: frozenset[str],
    planning: Planning,
) -> Decision:
    """Everything planned anew, warm from the plan in force; who cannot be served is refused or suspended."""
    warm = None if standing is None else standing.plan
    on = (Prices({}, {}) if standing is None else standing.prices).on(instance)
    plan = solved(pricing, instance, planning, warm, on)
    refused: tuple[str, ...] = ()
    suspended: tuple[str, ...] = ()
    if not plan.has_plan:
        served = whom_to_serve(pricing, instance, incumbents, planning, warm)
        left_out = [tenant.id for tenant in instance.tenants if tenant.id not in served]
        refused = tuple(name for name in left_out if name not in incumbents)
        suspended = tuple(name for name in left_out if name in incumbents)
        tenants = tuple(tenant for tenant in instance.tenants if tenant.id in served)
        if not tenants:
            empty = Standing(
                stated(pricing.infrastructure, [], Prices({}, {}), (0.0, 0.0), "planned"), Prices({}, {})
            )
            return Decision(pricing.infrastructure, empty, "planned", 0, 0, refused, suspended)
        instance = pricing.infrastructure.with_(tenants=tenants)
        plan = solved(pricing, instance, planning, warm, on)
        if not plan.has_plan:
            raise PlanningError(f"{instance.name}: whom the admission chose cannot be served: {plan.status}")
    prices = Prices.of(plan)
    entries = list(plan.tenants)
    lower, within = (
        max(known if known is not None else -math.inf, bound(pricing, prices, instance.tenants))
        for known, bound in ((plan.lower_bound, lower_bound), (plan.catalogue_bound, catalogue_bound))
    )
    bounds = lower, within
    document = stated(instance, entries, prices, bounds, "planned", pricing.guarantee, planning.gap)
    moved = sum(
        known[e.id].path != e.path or known[e.id].reservations != e.reservations
        for e in entries
        if e.id in known
    )
    placed = sum(entry.id not in known for entry in entries)
    return Decision(
        instance,
        Standing(document, prices, _kinds(pricing, instance.tenants)),
        "planned",
        placed,
        moved,
        refused,
        suspended,
    )


def stated(
    instance: Instance,
    entries: Sequence[TenantPlan],
    prices: Prices,
    bounds: tuple[float, float] | None,
    mode: str,
    guarantee: str = "minplus",
    gap: float = 0.0,
) -> Plan:
    """The plan document; without times and history, so that it depends on what was decided alone.

    bounds: on the cost of all plans, and of those of the catalogue.
    """
    costs = entry_costs(instance, entries)
    cost = math.fsum(costs)
    lower, within = (None, None) if bounds is None else (min(bound, cost) for bound in bounds)
    loads = domain_loads(instance, entries)
    note = learned_note(entries)
    plan = Plan(
        instance=InstanceReference(name=instance.name, sha256=instance.sha256),
        status="optimal" if within is not None and cost - within <= gap * abs(cost) else "feasible",
        method=mode,
        guarantee=guarantee,
        cost=cost,
        lower_bound=lower,
        catalogue_bound=within,
        tenants=TenantPlans(
            entry.model_copy(update={"cost": each}) for entry, each in zip(entries, costs, strict=True)
        ),
        domains=[
            DomainPlan(
                id=domain.id,
                reserved=loads[domain.id],
                capacity=domain.capacity,
                price=prices.capacity.get(domain.id, 0.0),
            )
            for domain in instance.domains
        ],
        notes=[] if note is None else [note],
    )
    return with_basis(plan, instance)
