"""What the broker may know of an instance: everything but the operators' cost curves and capacities.

Public are the stage graph, the links, the tenants and what the signed contracts say of an offer: its latency,
its impairment, the largest rate for a tenant, the work factor and the connection charge of a tenant (the
`fixed` part of a cost, a tariff that every bill shows). The curve of the total load and the capacity stay
with the operator; under the split guarantee latency and impairment do too. What is not known may be stated
per slot, so promises are then planned in whole slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedopt.instance import Domain, ExponentialImpairment, Linear
from fedopt.instance.base import LARGEST

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["UNDISCLOSED", "by_operator", "operator_of", "public_view", "with_domains"]

UNDISCLOSED = LARGEST
"""The capacity that stands in a public instance: as good as none."""


UNKNOWN = ExponentialImpairment(mean=1.0 / LARGEST)
"""The impairment that stands in a public instance without contracts: nothing, in the terms of slots."""


def public_view(instance: Instance, contracts: bool = True) -> Instance:
    """The instance without cost curves and capacities; without `contracts` (the split guarantee) without
    latencies and impairments too."""
    kept: dict[str, Any] = {}
    if not contracts:
        kept = {"latency": 0.0, "latency_kind": "rate", "impairment": UNKNOWN}
    domains = tuple(
        domain.model_copy(
            update={
                "capacity": UNDISCLOSED,
                "offers": tuple(
                    offer.model_copy(update={"cost": Linear(rate=0.0, fixed=float(offer.cost.fixed)), **kept})
                    for offer in domain.offers
                ),
            }
        )
        for domain in instance.domains
    )
    return with_domains(instance, domains)


def with_domains(instance: Instance, domains: tuple[Domain, ...]) -> Instance:
    """The instance over other domains, made anew: a copy would keep what was derived from the old ones."""
    parts = {name: getattr(instance, name) for name in type(instance).model_fields}
    return type(instance)(**{**parts, "domains": domains})


def operator_of(domain: Domain) -> str:
    """Whose a domain is; one that names no operator is its own."""
    return domain.operator or domain.id


def by_operator(instance: Instance, alone: bool = False) -> dict[str, tuple[Domain, ...]]:
    """The domains of each operator, in the order of the instance; `alone`: each domain its own operator."""
    owned: dict[str, list[Domain]] = {}
    for domain in instance.domains:
        owned.setdefault(domain.id if alone else operator_of(domain), []).append(domain)
    return {name: tuple(domains) for name, domains in owned.items()}
