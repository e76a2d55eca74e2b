"""The tenants of a plan as a table, the few that are drawn, and the parts of their deadlines and risks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fedopt.plan.document import PlanError, TenantPlan
from fedopt.plan.summary import path_text
from fedopt.report.drawing import Drawing
from fedopt.report.given import Given
from fedopt.report.network import Network
from fedopt.report.tables import Column, Table, number, per_cent, power
from fedopt.report.tails import LOG10

FEATURED = 8
"""How many entries are drawn in detail unless more are asked for."""


def tenant_table(given: Given, net: Network) -> Table:
    """One row per entry of the plan; what nobody knows has no column."""
    entries = given.plan.tenants
    promised = [given.promise(entry) for entry in entries]
    simulated = [given.simulated(entry) for entry in entries]
    audited = [given.audited(entry) for entry in entries]
    bounds = [entry.log_bound for entry in entries]
    partly = any(entry.learned for entry in entries)
    based = any(entry.basis for entry in entries)
    columns: list[tuple[Column, list[str], list[float | None] | None]] = [
        (Column("tenant"), [entry.id for entry in entries], None),
        (Column("count", True), [f"{entry.count:,}" for entry in entries], [float(e.count) for e in entries]),
        (
            Column("path and reserved rates", path=True),
            [path_text(entry, given.instance) for entry in entries],
            None,
        ),
        (
            Column("P(late) ≤" if partly else "proven P(late) ≤", True),
            ["–" if bound is None else power(bound / LOG10) for bound in bounds],
            list(bounds),
        ),
    ]
    if partly:
        risks = [math.fsum(promise.risk for promise in entry.learned.values()) for entry in entries]
        columns.append(
            (
                Column("of it learned, not proven", True),
                [f"{r:.2g}" if r else "–" for r in risks],
                list(risks),
            )
        )
    if any(promised):
        columns += [
            (
                Column("promised ε", True),
                ["–" if each is None else f"{each[1]:g}" for each in promised],
                [None if each is None else each[1] for each in promised],
            ),
            (
                Column("deadline", True),
                ["–" if each is None else number(each[0]) for each in promised],
                [None if each is None else each[0] for each in promised],
            ),
        ]
    if given.simulation is not None:
        columns += [
            (
                Column("simulated P(late)", True),
                ["–" if each is None else f"{each.violation.estimate:.2g}" for each in simulated],
                [None if each is None else each.violation.estimate for each in simulated],
            ),
            (Column("simulation says"), ["–" if each is None else each.verdict for each in simulated], None),
        ]
    if given.audit is not None:
        columns.append(
            (
                Column("audit says"),
                ["–" if each is None or each.verdict is None else each.verdict for each in audited],
                None,
            )
        )
    columns += [
        (Column("proof"), [_proof(entry) for entry in entries], None),
        *([(Column("rests on"), [_basis(entry) for entry in entries], None)] if based else []),
        (
            Column("cost", True),
            [number(entry.cost, 5) for entry in entries],
            [entry.cost for entry in entries],
        ),
    ]
    return Table(
        "tenants",
        f"Every entry of the plan; rates in {given.rate}, deadlines in {given.time}, "
        "costs of all identical tenants together",
        [column for column, _, _ in columns],
        list(map(list, zip(*(texts for _, texts, _ in columns), strict=True))) if entries else [],
        keys={at: keys for at, (_, _, keys) in enumerate(columns) if keys is not None},
        routes=[_route_numbers(entry, net) for entry in entries],
    )


def featured(given: Given, wanted: Sequence[str] = (), most: int = FEATURED) -> list[TenantPlan]:
    """The entries to draw: those of the tenants asked for; else what measurements contradict or leave open,
    then the costliest; one entry a tenant, and one of those that are alike in all but their names.

    Raises ReportError for a tenant that the plan does not have.
    """
    from fedopt.report.given import ReportError

    admitted = [entry for entry in given.plan.tenants if entry.admitted and entry.path and entry.count]
    if wanted:
        known = {entry.id for entry in given.plan.tenants}
        for name in wanted:
            if name not in known:
                raise ReportError(f"there is no tenant {name!r} in the plan")
        return [entry for entry in admitted if entry.id in set(wanted)]

    def order(entry: TenantPlan) -> tuple[int, float]:
        simulated, audited = given.simulated(entry), given.audited(entry)
        verdicts = {simulated.verdict if simulated else None, audited.verdict if audited else None}
        return (0 if "broken" in verdicts else 1 if "undecided" in verdicts else 2), -entry.cost

    chosen: list[TenantPlan] = []
    seen: set[object] = set()
    for entry in sorted(admitted, key=order):
        rates = tuple(f"{rate:.6g}" for rate in entry.reservations.values())
        alike = (tuple(entry.path), rates, given.promise(entry), order(entry)[0])
        if len(chosen) < most and not seen & {entry.id, alike}:
            chosen.append(entry)
            seen |= {entry.id, alike}
    return chosen


def _basis(entry: TenantPlan) -> str:
    """What an entry's promise rests on, with the confidence of all that is not a theorem."""
    if entry.basis is None:
        return "–"
    return entry.basis if entry.confidence is None else f"{entry.basis}, {100 * entry.confidence:g} %"


def _proof(entry: TenantPlan) -> str:
    if entry.form is None:
        return "–"
    if entry.theta is None or not math.isfinite(entry.theta):
        return entry.form
    return f"{entry.form}, θ = {entry.theta:.3g}"


def _route_numbers(entry: TenantPlan, net: Network) -> list[int]:
    try:
        domains = [domain for domain, _ in entry.hops()]
    except PlanError:
        return []
    return [net.numbers[domain] for domain in domains if domain in net.numbers]


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
