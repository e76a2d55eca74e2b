"""Where a tenant's deadline and its allowed risk go: what is spent where along the path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fedopt.plan.document import TenantPlan
from fedopt.report.curves import LOG10
from fedopt.report.drawing import Drawing
from fedopt.report.given import Given
from fedopt.report.tables import number, per_cent, power

WIDTH, BAR = 340.0, 20.0
TONES = 6


@dataclass(frozen=True)
class Part:
    """One part of a budget: who spends it, how much of the whole, in print, and whether it is left over."""

    name: str
    share: float
    amount: str
    spare: bool = False


@dataclass(frozen=True)
class Budget:
    """A budget in parts that add up to the whole; `note` says what the parts mean."""

    title: str
    whole: str
    parts: Sequence[Part]
    note: str


def budgets(given: Given, entry: TenantPlan) -> list[Budget]:
    """The deadline budget and the risk budget of an admitted entry, as far as the documents tell."""
    found = []
    deadline, risk = deadline_budget(given, entry), risk_budget(given, entry)
    if deadline is not None:
        found.append(deadline)
    if risk is not None:
        found.append(risk)
    return found


def deadline_budget(given: Given, entry: TenantPlan) -> Budget | None:
    """Links, fixed latencies and guardrails as the contracts state them, and the rest for queueing; under
    split the deadline shares of the domains."""
    if given.instance is None:
        return None
    instance = given.instance
    whole = instance.tenant(entry.id).slo.deadline
    delays = {(link.from_, link.to): link.delay for link in instance.links or ()}
    domains = [domain for domain, _ in entry.hops()]
    spent = [(f"link {a} → {b}", delays.get((a, b), 0.0)) for a, b in pairwise(domains)]
    if entry.form == "split" and entry.deadlines:
        spent += [(domain, entry.deadlines.get(domain, 0.0)) for domain in domains]
        left, note = "not given to anyone", "Each domain answers for its own part."
    else:
        for hop, (domain, _) in zip(entry.path, entry.hops(), strict=True):
            offer = instance.offer(hop)[1]
            if domain in entry.learned:
                spent.append((f"{domain} (asked of it, no contract)", entry.learned[domain].delay))
                continue
            kind = "guardrail latency" if offer.latency_kind == "rate" else "latency"
            spent.append((f"{domain} ({kind})", offer.latency))
        left, note = (
            "queueing, shared by all domains",
            "The bound lets every domain draw on the whole queueing part.",
        )
    parts = [
        Part(name, amount / whole, f"{number(amount)} {given.time}") for name, amount in spent if amount > 0
    ]
    rest = whole - sum(amount for _, amount in spent)
    if rest > 1e-9 * whole:
        parts.append(Part(left, rest / whole, f"{number(rest)} {given.time}", spare=True))
    return Budget("Deadline", f"{number(whole)} {given.time}", parts, note)


def risk_budget(given: Given, entry: TenantPlan) -> Budget | None:
    """The allowed violation probability: budgets per domain under split, else the proven bound by the
    domains' parts in the tail risk, and what is left."""
    promise = given.promise(entry)
    if promise is None or entry.log_bound is None:
        return None
    epsilon = promise[1]
    domains = [domain for domain, _ in entry.hops()]
    if entry.form == "split" and entry.budgets:
        parts = [
            Part(domain, entry.budgets.get(domain, 0.0) / epsilon, f"{entry.budgets.get(domain, 0.0):.3g}")
            for domain in domains
        ]
        note = "Each domain keeps its own violation probability."
    else:
        learned = math.fsum(promise.risk for promise in entry.learned.values()) / epsilon
        used = max(math.exp(min(entry.log_bound - math.log(epsilon), 0.0)) - learned, 0.0)
        shares = entry.risk_shares or {domain: 1 / len(domains) for domain in domains}
        parts = [
            Part(
                f"{domain} (shaper in front)" if domain in entry.learned else domain,
                used * share,
                f"{per_cent(share)} of the {'theorem' if entry.learned else 'bound'}",
            )
            for domain in domains
            if (share := shares.get(domain, 0.0)) > 0
        ]
        parts += [
            Part(
                f"{domain}, learned",
                promise.risk / epsilon,
                f"{promise.risk:.3g} at {promise.confidence:.0%}",
            )
            for domain, promise in entry.learned.items()
        ]
        parted = "its parts are the time that the critical window spends in each domain"
        if not entry.risk_shares:
            parted = "the plan states no parts, so equal ones are drawn"
        if entry.learned:
            parted = f"the part that is a theorem is {per_cent(used)} of ε, the rest of it was learned"
        note = f"The bound is {power(entry.log_bound / LOG10)}; {parted}."
    rest = 1.0 - sum(part.share for part in parts)
    if rest > 1e-4:
        parts.append(Part("unused", rest, per_cent(rest), spare=True))
    return Budget("Risk", f"ε = {epsilon:g}", parts, note)


def budget_bar(name: str, who: str, budget: Budget) -> str:
    """The budget as one bar in numbered parts; the numbers are those of the list beside it."""
    words = "; ".join(f"{at}: {part.name} {part.amount}" for at, part in enumerate(budget.parts, 1))
    drawing = Drawing(name, WIDTH, BAR + 2, f"{budget.title} budget of {who}", f"{budget.whole}: {words}.")
    total = max(sum(part.share for part in budget.parts), 1.0)
    x = 1.0
    for at, part in enumerate(budget.parts):
        width = (WIDTH - 2) * part.share / total
        drawing.rect(x, 1, width, BAR, "part spare" if part.spare else f"part tone{at % TONES}")
        if width >= 13:
            drawing.text(x + width / 2, BAR / 2 + 5, str(at + 1), "part-number", anchor="middle")
        x += width
    return drawing.markup()
