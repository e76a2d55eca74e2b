"""Ways to run the day: fedopt's closed loop, and what it is measured against, on the same packets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedopt.control.admission import Answer, Ledger, Prices, Pricing, admit, tenant_class
from fedopt.control.planning import Decision, Standing, decide, stated
from fedopt.control.scenario import Planning
from fedopt.control.settings import SETTINGS
from fedopt.errors import InputError
from fedopt.instance import Instance, Tenant
from fedopt.plan import Plan, TenantPlan
from fedopt.pricing import Network
from fedopt.simulate.simulated import resize

__all__ = ["POLICIES", "MeanPricing", "Policy", "PolicyError", "Shrinker", "check_policy", "decide_static"]


class PolicyError(InputError):
    """A policy that does not exist; the message lists those that do."""


@dataclass(frozen=True)
class Policy:
    """How a run decides.

    guarantee: what is proven for each tenant; None: the scenario's. closed: whether telemetry is audited
    and contracts are raised. rule: "certified" (planned and patched with a certificate), "static" (placed on
    arrival and left alone), "none" (no reservations). mean: reservations from mean rates and the margin.
    peak: sized for the largest traffic of the day. measured: reservations scaled down by simulation.
    """

    name: str
    about: str
    guarantee: str | None = None
    closed: bool = False
    rule: str = "certified"
    mean: bool = False
    peak: bool = False
    measured: bool = False


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("fedopt", "the closed loop: planned with a certificate, audited, recalibrated", closed=True),
        Policy("minplus", "the same plan, open loop: contracts are never corrected", "minplus"),
        Policy("simulated", "open loop, reservations scaled down by simulation", "minplus", measured=True),
        Policy("paper-path", "open loop under the paper's path guarantee", "paper-path"),
        Policy(
            "peak",
            "minplus for the busiest hour, on arrival, never changed",
            "minplus",
            rule="static",
            peak=True,
        ),
        Policy(
            "mean-rate", "mean rates and a margin, first fit on the cheapest path", rule="static", mean=True
        ),
        Policy(
            "best-effort", "no reservations: everybody shares one queue per domain", rule="none", mean=True
        ),
    )
}


def check_policy(name: str) -> Policy:
    """The policy of a name. Raises PolicyError."""
    if name not in POLICIES:
        raise PolicyError(f"there is no policy {name!r}; there are {', '.join(POLICIES)}")
    return POLICIES[name]


class MeanPricing(Pricing):
    """Prices paths at reservations of the mean rates times 1 + margin: no promise is proven by them."""

    def __init__(self, infrastructure: Instance, margin: float) -> None:
        super().__init__(infrastructure, "minplus")
        self.margin = margin

    def _priced(self, tenant: Tenant, key: tuple[str, tuple[float, ...]]) -> Answer:
        alone = self._contracted(tenant)
        network = Network(alone.instance)
        kind = network.kinds[0]
        paths = network.paths(kind)
        mean = network.objects[kind.arrival].mean + np.array(
            [network.objects[row].mean for row in network.row]
        )
        rates = np.minimum((1 + self.margin) * mean, network.stated_most)
        cost = paths.charge + (rates * self._own_prices(alone, network, key[1]))[paths.offers].sum(axis=1)
        order = np.argsort(cost, kind="stable")[: SETTINGS.candidates]
        candidates = tuple(
            (
                float(cost[p]),
                TenantPlan(
                    id=tenant.id,
                    path=[name for _, name in network.hops(paths.offers[p])],
                    reservations={
                        domain: float(rates[offer]) / network.slot
                        for (domain, _), offer in zip(
                            network.hops(paths.offers[p]), paths.offers[p], strict=True
                        )
                    },
                ),
            )
            for p in order
        )
        return Answer(candidates[0][0] if candidates else float("inf"), candidates)


def decide_static(
    pricing: Pricing,
    tenants: Sequence[Tenant],
    standing: Standing | None,
    lost: frozenset[str] = frozenset(),
    *,
    frozen: bool,
    crowded: bool = False,
) -> Decision:
    """Whoever is there stays; newcomers go first fit at list prices, and are refused where nothing fits.

    frozen: nobody is placed again, whatever changes; otherwise an entry follows its tenant's own traffic.
    crowded: nobody is refused; whom nothing fits goes the cheapest way.
    """
    instance = pricing.infrastructure.with_(tenants=tuple(tenants)) if tenants else pricing.infrastructure
    known = {} if standing is None else {entry.id: entry for entry in standing.plan.tenants}
    on = Prices({}, {}).on(instance)
    kept: dict[str, TenantPlan] = {}
    for tenant in tenants:
        entry = known.get(tenant.id)
        if entry is not None and (frozen or _same(pricing, tenant, entry, on)):
            kept[tenant.id] = entry
    ledger = Ledger(instance, kept)
    waiting = [tenant for tenant in tenants if tenant.id not in kept]
    refused: list[str] = []
    suspended: list[str] = []
    for tenant in waiting:
        if admit(ledger, pricing, on, tenant):
            continue
        answer = pricing.price(tenant, on)
        if crowded and answer.candidates:
            ledger.put(answer.candidates[0][1].model_copy(update={"id": tenant.id}))
        else:
            (suspended if tenant.id in known or tenant.id in lost else refused).append(tenant.id)
    served = [tenant for tenant in tenants if tenant.id in ledger.entries]
    instance = pricing.infrastructure.with_(tenants=tuple(served)) if served else pricing.infrastructure
    entries = [ledger.entries[tenant.id] for tenant in served]
    plan = stated(
        instance, entries, Prices({}, {}), None, "patched" if waiting else "kept", pricing.guarantee
    )
    moved = sum(tenant.id in known for tenant in waiting)
    return Decision(
        instance,
        Standing(plan, Prices({}, {})),
        "patched" if waiting else "kept",
        len(waiting) - moved,
        moved,
        tuple(refused),
        tuple(suspended),
    )


def _same(pricing: Pricing, tenant: Tenant, entry: TenantPlan, on: Mapping[str, float]) -> bool:
    """Whether an entry is still one that its tenant would be offered."""
    return any(
        entry.path == other.path and entry.reservations == other.reservations
        for _, other in pricing.price(tenant, on).candidates
    )


class Shrinker:
    """Scales entries down to what simulation confirms; the same entry is measured once."""

    def __init__(self, slots: int, seed: int) -> None:
        self.slots = slots
        self.seed = seed
        self._found: dict[tuple[object, ...], TenantPlan] = {}

    def shrink(self, instance: Instance, plan: Plan) -> Plan:
        """The plan with every entry's reservations as simulation leaves them."""
        entries = [self._entry(instance, plan, entry) for entry in plan.tenants]
        return stated(instance, entries, Prices({}, {}), None, plan.method, "simulated")

    def _entry(self, instance: Instance, plan: Plan, entry: TenantPlan) -> TenantPlan:
        tenant = instance.tenant(entry.id)
        key = (
            tenant_class(tenant),
            tuple(entry.path),
            tuple(entry.reservations.values()),
            tuple(instance.offer(hop)[1].model_dump_json() for hop in entry.path),
        )
        if key not in self._found:
            alone = instance.with_(tenants=(tenant,))
            only = stated(alone, [entry], Prices({}, {}), None, plan.method, plan.guarantee)
            (self._found[key],) = resize(only, alone, slots=self.slots, seed=self.seed).tenants
        return self._found[key].model_copy(update={"id": entry.id})


def choose(
    policy: Policy,
    pricing: Pricing,
    tenants: Sequence[Tenant],
    standing: Standing | None,
    planning: Planning,
    suspended: frozenset[str] = frozenset(),
) -> Decision:
    """What a policy does at the start of a period; suspended: who was admitted and has no place."""
    if policy.rule == "certified":
        return decide(pricing, tenants, standing, planning, suspended)
    crowded = policy.rule == "none"
    return decide_static(pricing, tenants, standing, suspended, frozen=policy.peak, crowded=crowded)
