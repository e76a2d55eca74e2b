"""The tenants of a plan as a table, and the few whose tails and budgets are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedopt.plan.document import PlanError, TenantPlan
from fedopt.report.curves import LOG10
from fedopt.report.given import Given
from fedopt.report.stage_graph import Network
from fedopt.report.tables import Column, Table, number, power

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
    columns: list[tuple[Column, list[str], list[float | None] | None]] = [
        (Column("tenant"), [entry.id for entry in entries], None),
        (Column("heads", True), [f"{entry.count:,}" for entry in entries], [float(e.count) for e in entries]),
        (Column("path and reserved rates", path=True), [route(entry) for entry in entries], None),
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
        (
            Column("cost", True),
            [number(entry.cost, 5) for entry in entries],
            [entry.cost for entry in entries],
        ),
    ]
    return Table(
        "tenants",
        f"Every entry of the plan; rates in {given.rate}, deadlines in {given.time}, "
        "costs of all heads together",
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


def route(entry: TenantPlan) -> str:
    """The path with the rates reserved on it, in words."""
    if not entry.admitted:
        return "not admitted"
    parts = []
    for hop in entry.path:
        rate = entry.reservations.get(hop.partition("/")[0])
        parts.append(hop if rate is None else f"{hop} {rate:.4g}")
    return " → ".join(parts) or "–"


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
