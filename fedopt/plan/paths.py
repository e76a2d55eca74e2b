"""From a tenant's hops to the calculus: the path in slots, built from the instance's own units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.calculus.path import Path, groups
from fedopt.calculus.whole import Handover, PoolDelays, UnknownSize, handover, pool_delays
from fedopt.instance.errors import InstanceError, Problem
from fedopt.instance.impairments import LearnedImpairment
from fedopt.laws import NoImpairment, build, own_arrival, own_impairment
from fedopt.plan.document import LearnedPromise, TenantPlan

if TYPE_CHECKING:
    from fedopt.instance import Instance, Tenant
    from fedopt.laws import Arrival, Impairment
    from fedopt.laws.protocol import Law

WITHOUT_SLOTS = frozenset(("poisson", "renewal", "mmpp", "token-bucket", "none", "learned"))
"""Models whose laws hold in continuous time."""


def speaks_of_slots(instance: Instance) -> bool:
    """Whether some law of an instance is stated per slot, so that time must be cut into slots."""
    laws: list[Any] = [offer.impairment for domain in instance.domains for offer in domain.offers]
    laws += [tenant.arrivals for tenant in instance.tenants]
    laws += [part for law in laws for part in getattr(law, "parts", ())]
    return any(getattr(law, "model", None) not in WITHOUT_SLOTS | {"sum"} for law in laws)


def handover_of(instance: Instance, tenant: Tenant, arrivals: Law) -> Handover:
    """What a hand-over of a tenant's requests is charged, `arrivals` in slots; the same on every path.

    Raises InstanceError where nothing bounds their size.
    """
    slo, hops = tenant.slo, len(instance.stages)
    own = slo.of == "requests"
    try:
        return handover(arrivals, slo.deadline / instance.slot, math.log(slo.epsilon), own, hops)
    except UnknownSize as error:
        place = f"tenants.{tenant.id}.arrivals"
        message, remedy = str(error).split("; ", 1)
        raise InstanceError([Problem(place, message, remedy)], f"instance {instance.name!r}") from None


def pools_of(instance: Instance, tenant: Tenant, arrivals: Law) -> PoolDelays:
    """What pools add to a tenant's delays, `arrivals` in slots; the same on every path.

    Raises InstanceError where nothing bounds the size of its requests.
    """
    try:
        return pool_delays(arrivals, tenant.slo.epsilon, tenant.slo.of == "requests")
    except UnknownSize as error:
        message, remedy = str(error).split("; ", 1)
        problem = Problem(f"tenants.{tenant.id}.arrivals", message, remedy)
        raise InstanceError([problem], f"instance {instance.name!r}") from None


def within_slot(instance: Instance, names: Sequence[str | None], iid: Sequence[bool]) -> bool:
    """Whether the domains of a path, of groups `names`, depend on each other within a slot only: every group
    that is met twice declares it and brings i.i.d. work."""
    met = [position for group in groups(names) for position in group]
    declared = instance.slot_dependent_groups
    return bool(met) and all(names[position] in declared and iid[position] for position in met)


class Paths:
    """Builds calculus paths for one instance; each arrival and impairment model is built once."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._arrivals: dict[str, Arrival] = {}
        self._impairments: dict[tuple[str, str], Impairment] = {}
        self._link_delays = {(link.from_, link.to): link.delay for link in instance.links or ()}
        self._slotted = speaks_of_slots(instance)
        self._handovers: dict[tuple[str, float], Handover] = {}

    def path(
        self,
        tenant_id: str,
        hops: Sequence[tuple[str, str]],
        learned: Mapping[str, LearnedPromise] | None = None,
        share: float | None = None,
    ) -> Path:
        """The path of a tenant over (domain id, offer id) hops, in slots and work per slot.

        Link delays are taken off the deadline; a pair of domains without a link counts as delay 0. learned:
        promises of domains without a contract, by id; such a domain is the tenant's own shaper at the
        reserved rate and then the promised delay, and its risk is taken off ε, so that the path is what is
        left to a theorem. share: the ε at which hand-overs and pools are charged, which any number can be;
        None: the tenant's. Raises InstanceError for an unknown tenant, domain or offer, and for a domain
        that has neither a contract nor a promise.
        """
        instance, slot = self._instance, self._instance.slot
        tenant = instance.tenant(tenant_id)
        charged = tenant
        if share is not None:
            charged = tenant.model_copy(update={"slo": tenant.slo.model_copy(update={"epsilon": share})})
        offers = [instance.offer(f"{domain}/{offer}")[1] for domain, offer in hops]
        promises = [
            (learned or {}).get(domain) if isinstance(offer.impairment, LearnedImpairment) else None
            for (domain, _), offer in zip(hops, offers, strict=True)
        ]
        crossed = [self._link_delays.get((first, second), 0.0) for (first, _), (second, _) in pairwise(hops)]
        whole = tuple(instance.domain(domain).forwarding == "whole" for domain, _ in hops)
        speeds = np.array([(offer.speed or 0.0) * slot for offer in offers])
        impairments = tuple(
            self._impairment(domain, offer) if promise is None else NoImpairment()
            for (domain, offer), promise in zip(hops, promises, strict=True)
        )
        names = [instance.dependent_group.get(domain) for domain, _ in hops]
        return Path(
            arrival=self._arrival(tenant_id),
            impairments=impairments,
            latencies=np.array(
                [
                    (offer.latency if promise is None else promise.delay) / slot
                    for offer, promise in zip(offers, promises, strict=True)
                ]
            ),
            rate_latency=np.array(
                [
                    offer.latency_kind == "rate" and promise is None
                    for offer, promise in zip(offers, promises, strict=True)
                ]
            ),
            deadline=(tenant.slo.deadline - sum(crossed)) / slot,
            log_epsilon=_left(tenant.slo.epsilon, promises),
            per_request=tenant.slo.of == "requests",
            dependent=groups(names),
            within_slot=within_slot(instance, names, [own_impairment(law).iid for law in impairments]),
            whole=whole,
            speeds=speeds,
            pools=pools_of(instance, charged, own_arrival(self._arrival(tenant_id)))
            if speeds.any()
            else None,
            handover=self._handover(charged) if any(whole[:-1]) else None,
            slotted=self._slotted,
            rounding=sum(math.ceil(delay / slot - 1e-9) - delay / slot for delay in crossed),
        )

    def _handover(self, tenant: Tenant) -> Handover:
        key = tenant.id, tenant.slo.epsilon
        if key not in self._handovers:
            law = own_arrival(self._arrival(tenant.id))
            self._handovers[key] = handover_of(self._instance, tenant, law)
        return self._handovers[key]

    def entry(self, entry: TenantPlan) -> Path:
        """The path of a plan's entry; what domains without a contract promise is taken from the entry."""
        share = entry.parameters.get("epsilon")
        known = isinstance(share, float) and 0.0 < share <= self._instance.tenant(entry.id).slo.epsilon
        return self.path(entry.id, entry.hops(), entry.learned, share if known else None)

    def rates(self, entry: TenantPlan) -> np.ndarray:
        """The entry's reservations along its path, work per slot, shape (L,)."""
        return np.array([entry.reservations[domain] for domain, _ in entry.hops()]) * self._instance.slot

    def _arrival(self, tenant_id: str) -> Arrival:
        if tenant_id not in self._arrivals:
            document = self._instance.tenant(tenant_id).arrivals
            self._arrivals[tenant_id] = build(document, self._instance.slot)
        return self._arrivals[tenant_id]

    def _impairment(self, domain: str, offer: str) -> Impairment:
        key = (domain, offer)
        if key not in self._impairments:
            document = self._instance.offer(f"{domain}/{offer}")[1].impairment
            self._impairments[key] = build(document, self._instance.slot)
        return self._impairments[key]


def _left(epsilon: float, promises: Sequence[LearnedPromise | None]) -> float:
    """The natural log of what is left of ε to the theorem; that of a probability of 0 where nothing is."""
    if not any(promises):
        return math.log(epsilon)
    left = epsilon - math.fsum(promise.risk for promise in promises if promise is not None)
    return math.log(left) if left > 0 else -math.inf
