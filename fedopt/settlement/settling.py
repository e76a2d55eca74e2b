"""Settling a plan: payments to the domains that earned them, refunds from the domains that caused them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Literal

from fedopt.audit import Audit
from fedopt.contracts import Contract
from fedopt.errors import InputError
from fedopt.instance import Instance
from fedopt.laws import build
from fedopt.plan import Plan
from fedopt.plan.document import TenantPlan
from fedopt.plan.paths import Paths
from fedopt.settlement.attributing import Guarantee, Rule, penalty_shares, revenue_shares, score
from fedopt.settlement.document import Line, Settlement
from fedopt.settlement.money import apportion, cents

__all__ = ["SettlementError", "settle"]

Verdict = Literal["kept", "broken", "undecided"]


class SettlementError(InputError):
    """A plan, instance and audit that do not belong together; the message says how."""


def settle(
    instance: Instance,
    plan: Plan,
    verdicts: Mapping[str, Verdict | None],
    *,
    degraded: Sequence[Contract] = (),
    rule: Rule = "marginal",
    guarantee: Guarantee = "minplus",
    period: str = "",
    salt: str | None = None,
) -> Settlement:
    """Settle one period. Amounts conserve money to the cent.

    Every admitted head pays its tenant's payment; where the audit's verdict is "broken", it is refunded the
    penalty. degraded: audited contracts of domains that did not deliver what the instance says; they decide
    who bears refunds. rule: the shares that are settled with ("marginal" is the paper's); the other rule's
    are stated beside. Raises SettlementError where the plan is not for this instance or a verdict names an
    unknown tenant.
    """
    if plan.instance.sha256 != instance.sha256:
        raise SettlementError("the plan was made for another instance or for an earlier version of it")
    unknown = set(verdicts) - {tenant.id for tenant in instance.tenants}
    if unknown:
        raise SettlementError(f"verdicts name tenants that the instance lacks: {', '.join(sorted(unknown))}")
    paths = Paths(instance)
    worse = {contract.subject: build(contract.impairment, instance.slot) for contract in degraded}
    lines = [
        _line(instance, paths, entry, verdicts.get(entry.id), worse, rule, guarantee)
        for entry in plan.tenants
        if entry.admitted and entry.count > 0
    ]
    net: dict[str, int] = {}
    for line in lines:
        for domain, revenue, penalty in zip(line.domains, line.revenue, line.penalty, strict=True):
            net[domain] = net.get(domain, 0) + revenue - penalty
    return Settlement(
        period=period,
        rule=rule,
        guarantee=guarantee,
        lines=lines,
        net=net,
        salt=secrets.token_hex(16) if salt is None else salt,
    )


def verdicts_of(audit: Audit, plan: Plan) -> dict[str, Verdict | None]:
    """Verdicts by tenant from an audit: of its series, or of the whole where the plan has one tenant only."""
    tenants = plan.tenants.ids()
    found: dict[str, Verdict | None] = {
        name: part.verdict for name, part in audit.series.items() if name in tenants
    }
    if not found and audit.name in tenants:
        found[audit.name] = audit.verdict
    if not found and len(tenants) == 1:
        found[tenants[0]] = audit.verdict
    if not found:
        raise SettlementError("the audit tells nothing of the plan's tenants: its series have other names")
    return found


def _line(
    instance: Instance,
    paths: Paths,
    entry: TenantPlan,
    verdict: Verdict | None,
    worse: Mapping[str, object],
    rule: Rule,
    guarantee: Guarantee,
) -> Line:
    tenant = instance.tenant(entry.id)
    path, rates = paths.entry(entry), paths.rates(entry)
    degraded = {place: worse[hop] for place, hop in enumerate(entry.path) if hop in worse}
    other: Rule = "shapley" if rule == "marginal" else "marginal"
    payment = entry.count * cents(tenant.payment or 0.0)
    refund = entry.count * cents(tenant.penalty or 0.0) if verdict == "broken" else 0
    earned, earned_other = (revenue_shares(path, rates, guarantee, kind) for kind in (rule, other))
    blamed, blamed_other = (penalty_shares(path, rates, degraded, guarantee, kind) for kind in (rule, other))
    return Line(
        tenant=entry.id,
        count=entry.count,
        verdict=verdict,
        payment=payment,
        refund=refund,
        score=score(path, rates, guarantee),
        domains=[domain for domain, _ in entry.hops()],
        revenue=apportion(payment, earned.values.tolist()),
        penalty=apportion(refund, blamed.values.tolist()),
        other_revenue=apportion(payment, earned_other.values.tolist()),
        other_penalty=apportion(refund, blamed_other.values.tolist()),
        revenue_basis=earned.basis,
        penalty_basis=blamed.basis,
    )
