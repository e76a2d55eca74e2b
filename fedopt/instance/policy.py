"""Who may use what: a tenant's policy and the quality its SLO asks for, against a domain and an offer."""

from __future__ import annotations

from .documents import Domain, Offer, Tenant


def admissible(tenant: Tenant, domain: Domain, offer: Offer) -> list[str]:
    """The reasons for which `tenant` may not use `offer` of `domain`; empty where it may.

    Allow-lists of operators and regions admit only domains that state one of them. Accuracy and staleness are
    compared where the offer states them: an offer without is no AI model and is not restricted.
    """
    policy, slo, reasons = tenant.policy, tenant.slo, []
    if policy.operators is not None and domain.operator not in policy.operators:
        stated = f"operator {domain.operator}" if domain.operator is not None else "a domain without operator"
        reasons.append(
            f"{stated} is not among {', '.join(policy.operators) or 'the (empty) list of operators'}"
        )
    if policy.regions is not None and domain.region not in policy.regions:
        stated = f"region {domain.region}" if domain.region is not None else "a domain without region"
        reasons.append(f"{stated} is not among {', '.join(policy.regions) or 'the (empty) list of regions'}")
    if policy.min_trust is not None and domain.trust < policy.min_trust:
        reasons.append(f"trust {domain.trust:g} is below {policy.min_trust:g}")
    if domain.id in policy.forbid:
        reasons.append(f"domain {domain.id} is forbidden")
    elif f"{domain.id}/{offer.id}" in policy.forbid:
        reasons.append(f"offer {domain.id}/{offer.id} is forbidden")
    if slo.min_accuracy is not None and offer.accuracy is not None and offer.accuracy < slo.min_accuracy:
        reasons.append(f"accuracy {offer.accuracy:g} is below {slo.min_accuracy:g}")
    if slo.max_staleness is not None and offer.staleness is not None and offer.staleness > slo.max_staleness:
        reasons.append(f"staleness {offer.staleness:g} s is above {slo.max_staleness:g} s")
    return reasons
