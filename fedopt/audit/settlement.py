"""Settling a plan: payments to the domains that earned them, refunds from the domains that caused them.

Amounts are whole cents, rounded once a tenant and split by largest remainders; what comes in equals what goes
out.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fedopt.audit.document import Audit
from fedopt.audit.sharing import Guarantee, Rule, penalty_shares, proper_shares, revenue_shares, score
from fedopt.contracts import Contract
from fedopt.errors import InputError
from fedopt.instance import Instance
from fedopt.laws import build
from fedopt.plan import Plan
from fedopt.plan.document import TenantPlan
from fedopt.plan.paths import Paths
from fedopt.storage import canonical_json, write_atomically

__all__ = [
    "Line",
    "Settlement",
    "SettlementError",
    "Statement",
    "apportion",
    "cents",
    "late_shares",
    "money",
    "settle",
    "summary",
    "verdicts_of",
]

Verdict = Literal["kept", "broken", "undecided"]
MAX_CENTS = 10**18


def cents(amount: float | Decimal, times: int = 1) -> int:
    """`times` an amount in units of money as whole cents, rounded once, halves to even. Raises ValueError
    where it is not finite or too large.
    """
    value = (Decimal(repr(amount)) if isinstance(amount, float) else Decimal(amount)) * times
    if not value.is_finite() or abs(value) * 100 > MAX_CENTS:
        raise ValueError(f"{amount} is no amount that can be settled")
    return int((value * 100).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Split whole cents in proportion to weights ≥ 0 by largest remainders; the parts add up to the total
    exactly.

    Equal remainders go to the earlier part first. All weights zero: equal parts. Raises ValueError for
    negative or infinite weights, or none.
    """
    if not weights or not all(math.isfinite(w) and w >= 0 for w in weights):
        raise ValueError("weights must be finite, not negative, and at least one")
    scale = max(weights)
    exact = [Decimal(w / scale) if scale > 0 else Decimal(1) for w in weights]
    whole = sum(exact)
    size = abs(total)
    ideal = [size * part / whole for part in exact]
    parts = [int(value) for value in ideal]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - ideal[i], i))
    for index in order[: size - sum(parts)]:
        parts[index] += 1
    return parts if total >= 0 else [-part for part in parts]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self, indent: int | None = 2) -> str:
        """The document as JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=indent, ensure_ascii=False)

    def save(self, path: str | Path) -> None:
        """Write the JSON to `path`, atomically."""
        write_atomically(Path(path), self.to_json() + "\n")


class Line(_Document):
    """One tenant entry: what it paid and what it is refunded, and each domain's part, in cents.

    revenue and penalty are by the rule settled with; other_revenue and other_penalty by the other rule, for
    comparison. score: K of the reservation; verdict: of the audit.
    """

    tenant: str
    count: int
    verdict: Literal["kept", "broken", "undecided"] | None
    payment: int
    refund: int
    score: float
    domains: list[str]
    revenue: list[int]
    penalty: list[int]
    other_revenue: list[int]
    other_penalty: list[int]
    revenue_basis: str
    penalty_basis: str


class Statement(_Document):
    """What one domain is told: its own amounts per tenant and their sum; nothing of other domains.

    tenants are numbered within the statement; commitment is a hash of the whole settlement with a salt, by
    which the statement can be shown later to belong to it.
    """

    fedopt: Literal[1] = 1
    kind: Literal["statement"] = "statement"
    domain: str
    period: str
    rows: list[tuple[str, int, int, int]] = Field(description="tenant, revenue, penalty, net, in cents")
    revenue: int
    penalty: int
    net: int
    commitment: str


class Settlement(_Document):
    """Who is paid what for a period, in cents."""

    fedopt: Literal[1] = 1
    kind: Literal["settlement"] = "settlement"
    period: str
    rule: Rule
    guarantee: Guarantee
    lines: list[Line]
    net: dict[str, int]
    salt: str = Field(description="kept by the broker; makes the commitment of statements unguessable")

    @property
    def received(self) -> int:
        """Payments less refunds of all tenants, in cents."""
        return sum(line.payment - line.refund for line in self.lines)

    @property
    def conserved(self) -> bool:
        """Whether the domains' net amounts add up to what the tenants paid."""
        return sum(self.net.values()) == self.received

    @property
    def commitment(self) -> str:
        """Hash of the whole settlement, salt included."""
        return sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()

    def statement(self, domain: str) -> Statement:
        """The statement of one domain. Raises KeyError for one that had no part."""
        if domain not in self.net:
            raise KeyError(f"the domain {domain!r} has no part in this settlement")
        rows: list[tuple[str, int, int, int]] = []
        for line in self.lines:
            if domain in line.domains:
                place = line.domains.index(domain)
                revenue, penalty = line.revenue[place], line.penalty[place]
                rows.append((f"{len(rows) + 1}: {line.tenant}", revenue, penalty, revenue - penalty))
        return Statement(
            domain=domain,
            period=self.period,
            rows=rows,
            revenue=sum(row[1] for row in rows),
            penalty=sum(row[2] for row in rows),
            net=sum(row[3] for row in rows),
            commitment=self.commitment,
        )

    @classmethod
    def load(cls, path: str | Path) -> Settlement:
        """Read a settlement file. Raises ValueError."""
        data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls.model_validate(data)


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
    late: Mapping[str, float] | None = None,
) -> Settlement:
    """Settle one period. Amounts conserve money to the cent.

    Every admitted unit of demand pays its tenant's payment; where the audit's verdict is "broken", it is
    refunded the penalty. degraded: audited contracts of domains that did not deliver what the instance says;
    they decide who bears refunds. late: by tenant the audited probability of being late, by which domains are
    charged that withhold theirs. rule: the shares that are settled with ("marginal" is the paper's, "proper"
    rewards declaring the truth); another rule's are stated beside. Raises SettlementError where the plan is
    not for this instance or a verdict names an unknown tenant.
    """
    if plan.instance.sha256 != instance.sha256:
        raise SettlementError("the plan was made for another instance or for an earlier version of it")
    unknown = set(verdicts) - {tenant.id for tenant in instance.tenants}
    if unknown:
        raise SettlementError(f"verdicts name tenants that the instance lacks: {', '.join(sorted(unknown))}")
    paths = Paths(instance)
    worse = {contract.subject: build(contract.impairment, instance.slot) for contract in degraded}
    lines = [
        _line(
            instance, paths, entry, verdicts.get(entry.id), worse, rule, guarantee, (late or {}).get(entry.id)
        )
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


def late_shares(audit: Audit, plan: Plan) -> dict[str, float]:
    """The audited probability of being late by tenant, where the audit judged a promise."""
    ids = plan.tenants.ids()
    parts = {name: part for name, part in audit.series.items() if name in ids}
    if not parts:
        parts = (
            {audit.name if audit.name in ids else ids[0]: audit} if audit.name in ids or len(ids) == 1 else {}
        )
    return {name: part.violation.estimate for name, part in parts.items() if part.violation is not None}


def _line(
    instance: Instance,
    paths: Paths,
    entry: TenantPlan,
    verdict: Verdict | None,
    worse: Mapping[str, object],
    rule: Rule,
    guarantee: Guarantee,
    late: float | None,
) -> Line:
    tenant = instance.tenant(entry.id)
    path, rates = paths.entry(entry), paths.rates(entry)
    degraded = {place: worse[hop] for place, hop in enumerate(entry.path) if hop in worse}
    other: Rule = "shapley" if rule == "marginal" else "marginal"
    payment = cents(tenant.payment or 0.0, entry.count)
    refund = cents(tenant.penalty or 0.0, entry.count) if verdict == "broken" else 0
    earned, earned_other = (
        proper_shares(path, rates, degraded)
        if kind == "proper"
        else revenue_shares(path, rates, guarantee, kind)
        for kind in (rule, other)
    )
    blamed, blamed_other = (
        penalty_shares(path, rates, degraded, guarantee, kind, late) for kind in (rule, other)
    )
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


def money(amount: int) -> str:
    """Cents as units with two decimals."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100:,}.{abs(amount) % 100:02d}"


def summary(settlement: Settlement) -> str:
    """A line per domain, a line per tenant whose promise was broken, and the balance."""
    lines = [f"Settlement by the {settlement.rule} rule under {settlement.guarantee}:"]
    lines += [f"  {domain}: {money(amount)}" for domain, amount in sorted(settlement.net.items())]
    for line in settlement.lines:
        if line.refund:
            parts = ", ".join(
                f"{domain} {money(own)} (by the other rule {money(other)})"
                for domain, own, other in zip(line.domains, line.penalty, line.other_penalty, strict=True)
            )
            lines.append(f"  {line.tenant} was promised more: refund {money(line.refund)}, borne by {parts}")
    balance = "adds up to the cent" if settlement.conserved else "DOES NOT ADD UP"
    lines.append(f"  received {money(settlement.received)}; {balance}")
    return "\n".join(lines)
