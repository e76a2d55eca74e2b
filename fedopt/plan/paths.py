"""From a tenant's hops to the calculus: the path in slots, built from the instance's own units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from fedopt.calculus.path import Path, groups
from fedopt.instance.impairments import LearnedImpairment
from fedopt.laws import NoImpairment, build
from fedopt.plan.document import LearnedPromise, TenantPlan

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.laws import Arrival, Impairment


class Paths:
    """Builds calculus paths for one instance; each arrival and impairment model is built once."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._arrivals: dict[str, Arrival] = {}
        self._impairments: dict[tuple[str, str], Impairment] = {}
        self._link_delays = {(link.from_, link.to): link.delay for link in instance.links or ()}

    def path(
        self,
        tenant_id: str,
        hops: Sequence[tuple[str, str]],
        learned: Mapping[str, LearnedPromise] | None = None,
    ) -> Path:
        """The path of a tenant over (domain id, offer id) hops, in slots and work per slot.

        Link delays are taken off the deadline; a pair of domains without a link counts as delay 0. learned:
        promises of domains without a contract, by id; such a domain is the tenant's own shaper at the
        reserved rate and then the promised delay, and its risk is taken off ε, so that the path is what is
        left to a theorem. Raises InstanceError for an unknown tenant, domain or offer, and for a domain
        that has neither a contract nor a promise.
        """
        instance, slot = self._instance, self._instance.slot
        tenant = instance.tenant(tenant_id)
        offers = [instance.offer(f"{domain}/{offer}")[1] for domain, offer in hops]
        promises = [
            (learned or {}).get(domain) if isinstance(offer.impairment, LearnedImpairment) else None
            for (domain, _), offer in zip(hops, offers, strict=True)
        ]
        links = sum(self._link_delays.get((first, second), 0.0) for (first, _), (second, _) in pairwise(hops))
        return Path(
            arrival=self._arrival(tenant_id),
            impairments=tuple(
                self._impairment(domain, offer) if promise is None else NoImpairment()
                for (domain, offer), promise in zip(hops, promises, strict=True)
            ),
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
            deadline=(tenant.slo.deadline - links) / slot,
            log_epsilon=_left(tenant.slo.epsilon, promises),
            per_request=tenant.slo.of == "requests",
            dependent=self._dependent([domain for domain, _ in hops]),
        )

    def entry(self, entry: TenantPlan) -> Path:
        """The path of a plan's entry; what domains without a contract promise is taken from the entry."""
        return self.path(entry.id, entry.hops(), entry.learned)

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

    def _dependent(self, domains: list[str]) -> tuple[tuple[int, ...], ...]:
        related = self._instance.dependent_pairs
        pairs = [
            (first, second)
            for first, second in combinations(range(len(domains)), 2)
            if frozenset((domains[first], domains[second])) in related
        ]
        return groups(len(domains), pairs)


def _left(epsilon: float, promises: Sequence[LearnedPromise | None]) -> float:
    """The natural log of what is left of ε to the theorem; that of a probability of 0 where nothing is."""
    if not any(promises):
        return math.log(epsilon)
    left = epsilon - math.fsum(promise.risk for promise in promises if promise is not None)
    return math.log(left) if left > 0 else -math.inf
