"""What a plan says of domains without a contract, held against what the instance says was learned of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from fedopt.instance import Instance
from fedopt.instance.impairments import LearnedImpairment
from fedopt.plan.document import TenantPlan
from fedopt.plan.policy import Violation

__all__ = ["has_learned", "learned_note", "learned_violations", "theorem_log_bound", "total_log_bound"]


def has_learned(instance: Instance) -> bool:
    """Whether some offer of the instance has no contract."""
    return any(
        isinstance(offer.impairment, LearnedImpairment)
        for domain in instance.domains
        for offer in domain.offers
    )


def learned_violations(instance: Instance, entry: TenantPlan, tolerance: float) -> Iterator[Violation]:
    """What is wrong with an entry's learned promises: each must be one that the instance's table makes, and
    all domains without a contract need one.
    """
    learned = {
        domain: offer.impairment
        for hop, (domain, _) in zip(entry.path, entry.hops(), strict=True)
        if isinstance((offer := instance.offer(hop)[1]).impairment, LearnedImpairment)
    }
    for domain in entry.learned:
        if domain not in learned:
            yield "learned", domain, f"a learned promise of {domain}, which has a contract or is not crossed"
    tenant = instance.tenant(entry.id)
    for domain, impairment in learned.items():
        promise = entry.learned.get(domain)
        if promise is None:
            yield "learned", domain, f"{domain} has no contract, and the entry names no learned promise of it"
            continue
        rate = entry.reservations.get(domain, math.inf)
        known = impairment.risk(tenant.arrivals, rate, promise.delay)
        if known > promise.risk * (1 + tolerance):
            yield (
                "learned",
                domain,
                f"a risk of {promise.risk:.6g} is stated for more than {promise.delay:.6g} in {domain}; "
                + (f"what was learned says {known:.6g}" if known < 1 else "nothing of it was learned"),
            )
        if promise.confidence > impairment.confidence * (1 + tolerance):
            yield (
                "learned",
                domain,
                f"a confidence of {promise.confidence:g} is stated, what was learned of {domain} has "
                f"{impairment.confidence:g}",
            )


def total_log_bound(theorem: float, entry: TenantPlan) -> float:
    """The natural log of a theorem's probability and the entry's learned risks together."""
    risk = math.fsum(promise.risk for promise in entry.learned.values())
    if risk == 0.0:
        return theorem
    return math.log(math.exp(min(theorem, 0.0)) + risk) if theorem > -math.inf else math.log(risk)


def theorem_log_bound(entry: TenantPlan) -> float | None:
    """The natural log of the theorem's part of the bound that an entry states."""
    if entry.log_bound is None or not entry.learned:
        return entry.log_bound
    risk = math.fsum(promise.risk for promise in entry.learned.values())
    left = math.exp(entry.log_bound) - risk
    return math.log(left) if left > 0 else -math.inf


def learned_note(entries: Iterable[TenantPlan]) -> str | None:
    """One sentence on the entries whose promise is a theorem in part only; None where there are none."""
    served = [entry for entry in entries if entry.admitted]
    partly = [entry for entry in served if entry.learned]
    if not partly:
        return None
    domains = sorted({domain for entry in partly for domain in entry.learned})
    confidence = min(promise.confidence for entry in partly for promise in entry.learned.values())
    return (
        f"{len(partly)} of {len(served)} entries cross {', '.join(domains)} without a contract: that part of "
        f"their risk is learned from answers, at {confidence:.0%} confidence for each, and no theorem."
    )
