"""A period as it truly is: the domains at what they promised and at what they deliver, the tenants as they
behave and were promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fedopt.contracts import Contract
from fedopt.control.asking import HiddenServer
from fedopt.control.scenario import Hidden
from fedopt.control.timeline import Moment, scaled_arrivals, scaled_impairment
from fedopt.instance import Instance, LearnedImpairment, Tenant
from fedopt.laws import build

__all__ = ["World", "expected_requests", "tenant_now", "true_instance", "world"]


@dataclass(frozen=True)
class World:
    """A moment with the tenants that are served in it.

    promised: every offer as its domain promised it of its own accord; truth: as the domains deliver; hidden:
    what offers without a contract truly are, by "domain/offer".
    """

    moment: Moment
    promised: Instance
    truth: Instance
    hidden: Mapping[str, HiddenServer] = field(default_factory=dict)

    def epsilon(self, tenant: str) -> float:
        """What a tenant was promised."""
        return self.truth.tenant(tenant).slo.epsilon


def world(
    instance: Instance,
    promised: Mapping[str, Contract],
    moment: Moment,
    served: Iterable[str],
    tests: Iterable[Tenant] = (),
    hidden: Iterable[Hidden] = (),
) -> World:
    """The world of a period with the tenants `served` and test senders.

    promised: contract by "domain/offer"; hidden: what offers without one truly are.
    """
    domains = instance.with_(
        {
            f"domains.{c.domain}.offers.{c.offer}.{name}": value
            for c in promised.values()
            for name, value in (("impairment", c.impairment), ("latency", c.latency))
            if getattr(instance.offer(c.subject)[1], name) != value
        }
    )
    present = set(served)
    tenants = tuple(
        tenant_now(instance, member.id, member.like, moment.factors)
        for member in moment.members
        if member.id in present
    )
    everybody = (*tenants, *tests)
    found = domains.with_(tenants=everybody) if everybody else domains
    return World(moment, found, true_instance(found, moment), _servers(hidden, moment, instance.slot))


def _servers(hidden: Iterable[Hidden], moment: Moment, slot: float) -> dict[str, HiddenServer]:
    found = {}
    for part in hidden:
        name = f"{part.domain}/{part.offer}"
        impairment = scaled_impairment(part.impairment, moment.degraded.get(name, 1.0))
        found[name] = HiddenServer.of(part.rate, part.latency, impairment, slot)
    return found


def true_instance(instance: Instance, moment: Moment) -> Instance:
    """The instance with the impairments that the degraded domains truly have."""
    changes = {}
    for name, factor in moment.degraded.items():
        domain, offer = instance.offer(name)
        if isinstance(offer.impairment, LearnedImpairment):
            continue  # what it truly is stands elsewhere
        changes[f"domains.{domain.id}.offers.{offer.id}.impairment"] = scaled_impairment(
            offer.impairment, factor
        )
    return instance.with_(changes) if changes else instance


def tenant_now(instance: Instance, name: str, like: str, factors: Mapping[str, float]) -> Tenant:
    """A tenant like one of the instance's, at the traffic factor of that one."""
    pattern = instance.tenant(like)
    arrivals = scaled_arrivals(pattern.arrivals, factors[like])
    return pattern.model_copy(update={"id": name, "arrivals": arrivals})


def expected_requests(tenant: Tenant, slots: int, slot: float) -> float:
    """Requests (work where there are none) that a tenant sends in so many slots, on average."""
    law = build(tenant.arrivals, slot)
    size = getattr(law, "size", None)
    return slots * (law.mean / size if size else law.mean)
