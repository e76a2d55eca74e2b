"""Whether a path may be used: stage by stage, along links, within the tenant's policy and SLO.

Written from the specification alone, for the checker, and apart from what the solvers use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedopt.instance import Domain, Instance, Offer, Tenant

Violation = tuple[str, str | None, str]
"""(constraint, domain id or None, what is wrong)."""


def path_violations(
    instance: Instance, hops: Sequence[tuple[str, str]]
) -> tuple[list[Violation], list[tuple[Domain, Offer]]]:
    """What is wrong with a path as a path, and the domains and offers on it (empty if any does not exist)."""
    known = {domain.id: domain for domain in instance.domains}
    found: list[Violation] = []
    stations: list[tuple[Domain, Offer]] = []
    for domain_id, offer_id in hops:
        domain = known.get(domain_id)
        offer = None if domain is None else next((o for o in domain.offers if o.id == offer_id), None)
        if domain is None or offer is None:
            found.append(("path", domain_id, f"there is no offer {domain_id}/{offer_id}"))
        else:
            stations.append((domain, offer))
    if found:
        return found, []
    crossed = [domain.stage for domain, _ in stations]
    if crossed != list(instance.stages):
        found.append(
            ("path", None, f"the stages crossed are {', '.join(crossed)}, not {', '.join(instance.stages)}")
        )
    elif instance.links is not None:
        links = {(link.from_, link.to) for link in instance.links}
        for (first, _), (second, _) in pairwise(hops):
            if (first, second) not in links:
                found.append(("path", second, f"there is no link from {first} to {second}"))
    return found, stations


def policy_violations(
    instance: Instance, tenant: Tenant, stations: Sequence[tuple[Domain, Offer]]
) -> Iterator[Violation]:
    """What of a path the tenant's policy and SLO forbid.

    Where some offer of a stage states an accuracy, one that states none fails a least accuracy; so does every
    offer where no stage has any. Staleness likewise.
    """
    policy, slo = tenant.policy, tenant.slo
    accurate = {d.stage for d in instance.domains for o in d.offers if o.accuracy is not None}
    dated = {d.stage for d in instance.domains for o in d.offers if o.staleness is not None}
    for domain, offer in stations:
        name = f"{domain.id}/{offer.id}"
        if policy.operators is not None and domain.operator not in policy.operators:
            yield "policy", domain.id, f"{name} is run by {domain.operator}, which the policy does not list"
        if policy.regions is not None and domain.region not in policy.regions:
            yield (
                "policy",
                domain.id,
                f"{name} lies in region {domain.region}, which the policy does not list",
            )
        if policy.min_trust is not None and domain.trust < policy.min_trust:
            yield "policy", domain.id, f"{name} has trust {domain.trust:g}, below {policy.min_trust:g}"
        if domain.id in policy.forbid or name in policy.forbid:
            yield "policy", domain.id, f"{name} is forbidden by the policy"
        if (getattr(offer, "weight", None) or 1.0) != (tenant.work or {}).get(domain.stage, 1.0):
            yield "policy", domain.id, f"{name} is for tenants whose work is another there"
        if domain.capacity == 0:
            yield "policy", domain.id, f"{name} is drained: its capacity is 0"
        if slo.min_accuracy is not None:
            if offer.accuracy is None and (domain.stage in accurate or not accurate):
                yield "policy", domain.id, f"{name} states no accuracy, {slo.min_accuracy:g} is asked for"
            elif offer.accuracy is not None and offer.accuracy < slo.min_accuracy:
                yield (
                    "policy",
                    domain.id,
                    f"{name} has accuracy {offer.accuracy:g}, below {slo.min_accuracy:g}",
                )
        if slo.max_staleness is not None and offer.staleness is None and (domain.stage in dated or not dated):
            yield (
                "policy",
                domain.id,
                f"{name} states no staleness, at most {slo.max_staleness:g} is asked for",
            )
        if (
            slo.max_staleness is not None
            and offer.staleness is not None
            and offer.staleness > slo.max_staleness
        ):
            yield (
                "policy",
                domain.id,
                f"{name} has staleness {offer.staleness:g}, above {slo.max_staleness:g}",
            )
