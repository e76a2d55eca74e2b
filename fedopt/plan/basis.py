"""What promises rest on: theorems, fitted laws, records, measurements, and what was learned of domains
without a contract."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from fedopt.instance import Instance
from fedopt.instance.impairments import LearnedImpairment
from fedopt.plan.document import Basis, Plan, TenantPlan
from fedopt.plan.guarantees import MEASURED
from fedopt.plan.policy import Violation

__all__ = [
    "basis_of",
    "basis_violations",
    "has_learned",
    "learned_note",
    "learned_violations",
    "theorem_log_bound",
    "total_log_bound",
    "with_basis",
]


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


def basis_of(instance: Instance, entry: TenantPlan) -> tuple[Basis, float | None]:
    """What an entry's promise rests on and the confidence that all of it holds, None for certain or unknown.

    The weakest of what the laws of its tenant and path rest on counts; errors of fitted and learned parts add
    up.
    """
    if entry.form == MEASURED:
        return "measurement", entry.parameters.get("confidence")
    laws: list[Any] = [instance.tenant(entry.id).arrivals]
    laws += [instance.offer(hop)[1].impairment for hop in entry.path]
    laws += [part for law in laws for part in getattr(law, "parts", ())]
    unproven = entry.form == "paper-local" or entry.parameters.get("proven") is False
    if unproven or any(getattr(law, "basis", "stated") == "estimate" for law in laws):
        return "estimate", None
    parts = [law.confidence for law in laws if getattr(law, "basis", "stated") == "fitted"]
    parts += [promise.confidence for promise in entry.learned.values()]
    if not parts:
        return "theorem", None
    left = 1.0 - math.fsum(1.0 - part for part in parts)
    return ("fitted", left) if left > 0.0 else ("estimate", None)


def with_basis(plan: Plan, instance: Instance) -> Plan:
    """The plan with the basis of each admitted entry."""
    entries = []
    for entry in plan.tenants:
        if entry.admitted and entry.path:
            basis, confidence = basis_of(instance, entry)
            entry = entry.model_copy(update={"basis": basis, "confidence": confidence})
        entries.append(entry)
    return plan.model_copy(update={"tenants": type(plan.tenants)(entries)})


def basis_violations(instance: Instance, entry: TenantPlan, tolerance: float) -> Iterator[Violation]:
    """What is wrong with the basis that an entry states."""
    if entry.basis is None:
        return
    basis, confidence = basis_of(instance, entry)
    if entry.basis != basis:
        yield "basis", None, f"the basis stated is {entry.basis}, what its laws allow is {basis}"
    elif basis == "fitted" and (entry.confidence or 1.0) > (confidence or 0.0) * (1 + tolerance):
        yield (
            "basis",
            None,
            f"a confidence of {entry.confidence or 1.0:g} is stated, the fitted parts have {confidence:g}",
        )
