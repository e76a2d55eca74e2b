"""Checking a plan against its instance, by code that shares nothing with the solvers but the calculus."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fedopt.instance.base import LARGEST
from fedopt.plan.basis import basis_violations, learned_note, learned_violations
from fedopt.plan.document import Plan, PlanError, TenantPlan, relative_gap
from fedopt.plan.guarantees import MEASURED, GuaranteeError, check_guarantee
from fedopt.plan.policy import path_violations, policy_violations
from fedopt.plan.summary import resting_on

if TYPE_CHECKING:
    from fedopt.instance import Instance

TOLERANCE = 1e-6
"""Relative tolerance of sums and rates, absolute tolerance of log-bounds."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a plan: which constraint, whose, where, and what."""

    constraint: str
    message: str
    tenant: str | None = None
    domain: str | None = None

    def __str__(self) -> str:
        who = f" {self.tenant}:" if self.tenant is not None else ""
        return f"[{self.constraint}]{who} {self.message}"


@dataclass(frozen=True)
class CheckReport:
    """The outcome of a check: what was wrong (nothing, if `ok`), and how much was looked at.

    `entries` counts the tenant entries that were verified; `against_instance` says whether the instance was
    at hand, without which only the plan's own arithmetic can be checked. `notes` say what no check can
    decide.
    """

    findings: tuple[Finding, ...]
    entries: int
    against_instance: bool
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "ok": self.ok,
            "entries": self.entries,
            "against_instance": self.against_instance,
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """The report in words."""
        scope = (
            "against its instance" if self.against_instance else "by its own arithmetic only (no instance)"
        )
        notes = "".join(f" {note}" for note in self.notes)
        if self.ok:
            checked = f"{self.entries} {'entry' if self.entries == 1 else 'entries'}"
            return f"The plan is correct: {checked} checked {scope}.{notes}"
        first = f"The plan is wrong in {len(self.findings)} place{'s' * (len(self.findings) > 1)} ({scope}):"
        return "\n".join([first, *(f"  {finding}" for finding in self.findings)])


def check(
    plan: Plan,
    instance: Instance | None = None,
    *,
    tolerance: float = TOLERANCE,
) -> CheckReport:
    """Verify a plan: paths, policy, rates, capacity, isolation, guarantee, shares, counts, costs, bound, gap.

    A plan with status "infeasible" or "limit" must promise nothing; no more can be said about it.

    Parameters
    ----------
    plan
        The plan; nothing that it states is believed.
    instance
        What it is for; without it only what the plan states about itself is checked.
    tolerance
        Relative for sums and rates, absolute for log-bounds.

    Returns
    -------
    CheckReport
        All findings; `ok` where there are none.
    """
    if instance is None:
        findings = tuple(_own_arithmetic(plan, tolerance))
    else:
        findings = (*_own_arithmetic(plan, tolerance), *_against(plan, instance, tolerance))
    notes = list(_notes(plan))
    if instance is not None and _public(instance):
        notes.append(
            "The instance is the public part of one: costs, capacities and, under private contracts, rates "
            "are the operators' to check."
        )
    return CheckReport(findings, len(plan.tenants), instance is not None, tuple(notes))


def _notes(plan: Plan) -> Iterator[str]:
    if plan.guarantee == MEASURED and plan.has_plan:
        count = sum(entry.admitted and entry.form == MEASURED for entry in plan.tenants)
        yield (
            f"The guarantee of {count} of them is a measurement by simulation, not a theorem: that it was "
            "measured was believed, all else was recomputed."
        )

    yield from resting_on(plan)
    note = learned_note(plan.tenants)
    if note is not None:
        yield f"{note} What was learned was believed as the instance states it; all else was recomputed."


def _own_arithmetic(plan: Plan, tolerance: float) -> Iterator[Finding]:
    if not plan.has_plan:
        if any(entry.admitted and entry.path for entry in plan.tenants) or plan.cost is not None:
            yield Finding("status", f"status {plan.status}, yet there are paths or a cost")
        return
    if plan.cost is None:
        yield Finding("cost", f"status {plan.status}, yet no cost is stated")
        return
    if plan.lower_bound is None:
        if plan.gap is not None:
            yield Finding("gap", f"a gap of {plan.gap:.6g} without a lower bound")
        if plan.status == "optimal" and plan.catalogue_bound is None:
            yield Finding("lower-bound", "status optimal without a lower bound")
    else:
        if plan.lower_bound > plan.cost + tolerance * max(1.0, abs(plan.cost)):
            yield Finding(
                "lower-bound", f"the lower bound {plan.lower_bound:.9g} exceeds the cost {plan.cost:.9g}"
            )
        gap = relative_gap(plan.cost, plan.lower_bound)
        if (gap is None) != (plan.gap is None) or (gap is not None and abs(gap - (plan.gap or 0.0)) > 1e-9):
            yield Finding("gap", f"the gap stated is {plan.gap}, cost and bound give {gap}")
    for domain in plan.domains:
        if domain.reserved > domain.capacity * (1 + tolerance):
            message = f"{domain.reserved:.9g} reserved of {domain.capacity:.9g}"
            yield Finding("capacity", f"{domain.id}: {message}", domain=domain.id)
    yield from _rounds_in_order(plan)


def _rounds_in_order(plan: Plan) -> Iterator[Finding]:
    for before, after in pairwise(plan.history):
        if after.seconds < before.seconds or after.round <= before.round:
            yield Finding("history", f"round {after.round} does not follow round {before.round}")
            return


def _against(plan: Plan, instance: Instance, tolerance: float) -> Iterator[Finding]:
    if plan.instance.sha256 != instance.sha256:
        yield Finding(
            "instance",
            f"the plan is for {plan.instance.name!r} with SHA-256 {plan.instance.sha256[:12]}…, "
            f"this instance is {instance.name!r} with {instance.sha256[:12]}…",
        )
    if not plan.has_plan:
        return
    try:
        check_guarantee(plan.guarantee)
    except GuaranteeError as error:
        yield Finding("guarantee", str(error))
        return
    counted = list(_counts(plan, instance))
    yield from counted
    sound = True
    entries = _Entries(plan, instance, tolerance)
    for entry in plan.tenants:
        found = list(entries.check(entry))
        sound = sound and not any(finding.constraint in ("path", "rates") for finding in found)
        yield from found
    if sound and not _public(instance) and not any(found.constraint == "tenant" for found in counted):
        ledger = _Ledger(plan, instance)
        yield from _loads(ledger, plan, instance, tolerance)
        yield from _costs(ledger, plan, tolerance)


def _counts(plan: Plan, instance: Instance) -> Iterator[Finding]:
    units: Counter[str] = Counter()
    known = {tenant.id: tenant for tenant in instance.tenants}
    for entry in plan.tenants:
        units[entry.id] += entry.count
        if entry.id not in known:
            yield Finding("tenant", "there is no such tenant", tenant=entry.id)
        elif plan.objective == "cost" and not entry.admitted and entry.count:
            yield Finding("admission", "not admitted, though all must be served", tenant=entry.id)
    for tenant in instance.tenants:
        if units[tenant.id] != tenant.count:
            message = f"the plan speaks of {units[tenant.id]} units, there are {tenant.count}"
            yield Finding("count", message, tenant=tenant.id)


class _Entries:
    """Checks tenant entries one by one; arrival and impairment models are built once for all of them."""

    def __init__(self, plan: Plan, instance: Instance, tolerance: float) -> None:
        from fedopt.plan.milestones import parts_of
        from fedopt.plan.paths import Paths

        self.plan, self.instance, self.tolerance = plan, instance, tolerance
        self.paths = Paths(instance)
        self.parts = [(part, Paths(part.instance)) for part in parts_of(instance)]
        self.tenants = {tenant.id: tenant for tenant in instance.tenants}

    def check(self, entry: TenantPlan) -> Iterator[Finding]:
        if entry.id not in self.tenants:
            return
        if not entry.admitted:
            if entry.path or entry.reservations:
                yield Finding("admission", "not admitted, yet it has a path or reservations", tenant=entry.id)
            return
        for constraint, domain, message in self._violations(entry):
            yield Finding(constraint, message, tenant=entry.id, domain=domain)

    def _violations(self, entry: TenantPlan) -> Iterator[tuple[str, str | None, str]]:
        from fedopt.plan.milestones import milestone_violations
        from fedopt.plan.promises import promise_violations, share_violations

        try:
            hops = entry.hops()
        except PlanError as error:
            yield "path", None, str(error)
            return
        broken, stations = path_violations(self.instance, hops)
        yield from broken
        if broken:
            return
        yield from policy_violations(self.instance, self.tenants[entry.id], stations)
        if not entry.reservations and "agreement" in entry.parameters:
            yield from self._agreed(entry, stations)
            return
        if set(entry.reservations) != {domain for domain, _ in hops}:
            yield (
                "rates",
                None,
                f"rates are reserved in {sorted(entry.reservations)}, the path is {entry.path}",
            )
            return
        for domain, offer in stations:
            rate = entry.reservations[domain.id]
            if offer.max_rate is not None and rate > offer.max_rate * (1 + self.tolerance):
                yield "max-rate", domain.id, f"rate {rate:.9g} in {domain.id} is above {offer.max_rate:.9g}"
            if offer.speed is not None:
                replicas = rate / (offer.speed * offer.concurrency)
                if abs(replicas - round(replicas)) > self.tolerance * max(replicas, 1.0):
                    message = f"rate {rate:.9g} in {domain.id} is {replicas:.6g} replicas, no whole number"
                    yield "servers", domain.id, message
        guarantee, tolerance = self.plan.guarantee, self.tolerance
        unlearned = list(learned_violations(self.instance, entry, tolerance))
        yield from unlearned
        if any(domain is not None and domain not in entry.learned for _, domain, _ in unlearned):
            return
        yield from basis_violations(self.instance, entry, tolerance)
        path, rates = self.paths.entry(entry), self.paths.rates(entry)
        yield from promise_violations(path, rates, entry, guarantee, tolerance)
        yield from milestone_violations(self.instance, entry, self.parts, guarantee, tolerance)
        if entry.form == "split":
            yield from share_violations(path, rates, entry, self.instance.slot, tolerance)
        if entry.risk_shares and (
            not set(entry.risk_shares) <= set(entry.reservations)
            or abs(sum(entry.risk_shares.values()) - 1.0) > 1e-6
        ):
            yield "risk-shares", None, "the risk shares must be of domains on the path and add up to 1"

    def _agreed(self, entry: TenantPlan, stations: Sequence[Any]) -> Iterator[tuple[str, str | None, str]]:
        """What is wrong with shares that operators agreed on; the rates that keep them only they know."""
        if not _public(self.instance):
            yield (
                "rates",
                None,
                "its operators keep the rates under private contracts; nobody else can check them",
            )
            return
        agreed = entry.parameters["agreement"]
        if len(agreed) != len(stations):
            yield "share", None, f"{len(agreed)} agreements, the path crosses {len(stations)} domains"
            return
        for share in ("time", "risk"):
            total = sum(float(one[share]) for one in agreed)
            if total > 1.0 + self.tolerance:
                yield "share", None, f"the {share} shares add up to {total:.9g}, which is more than all"
        tenant = self.tenants[entry.id]
        deadline = float(tenant.slo.deadline)
        if any(float(one["slots"]) * self.instance.slot > deadline * (1 + self.tolerance) for one in agreed):
            yield "deadline", None, f"the domains share more than the deadline {deadline:.9g}"
        if sum(entry.budgets.values()) > tenant.slo.epsilon * (1 + self.tolerance):
            yield "budget", None, "the budgets add up to more than ε"


def _public(instance: Instance) -> bool:
    """Whether an instance is what a broker sees: capacities that stand for nothing."""
    return all(domain.capacity >= LARGEST for domain in instance.domains)


class _Ledger:
    """Loads and costs of a plan, added up here from the instance's price list: solvers have code of their
    own for it (`fedopt.plan.charges`), so a mistake in one of the two shows.
    """

    def __init__(self, plan: Plan, instance: Instance) -> None:
        served = [entry for entry in plan.tenants if entry.admitted]
        rates: dict[str, list[float]] = {}
        for entry in served:
            for place in entry.path:
                rate = entry.reservations[place.partition("/")[0]]
                rates.setdefault(place, []).append(entry.count * rate)
        totals = {place: math.fsum(parts) for place, parts in rates.items()}
        offers = {place: instance.offer(place) for place in totals}
        self.used: dict[str, float] = {domain.id: 0.0 for domain in instance.domains}
        for place, (domain, offer) in offers.items():
            self.used[domain.id] += offer.work_factor * totals[place]
        curves = {place: float(offer.cost.variable(totals[place])) for place, (_, offer) in offers.items()}
        links = {(link.from_, link.to): float(link.cost) for link in instance.links or ()}
        self.costs: list[float] = []
        self.paid = 0.0
        for entry in plan.tenants:
            if not entry.admitted:
                self.costs.append(0.0)
                continue
            crossed = [place.partition("/")[0] for place in entry.path]
            shares = [
                entry.count * entry.reservations[domain] / totals[place] * curves[place]
                if totals[place]
                else 0.0
                for place, domain in zip(entry.path, crossed, strict=True)
            ]
            once = [float(offers[place][1].cost.fixed) for place in entry.path]
            once += [links.get(pair, 0.0) for pair in pairwise(crossed)]
            self.costs.append(math.fsum(shares) + entry.count * math.fsum(once))
            self.paid += entry.count * instance.tenant(entry.id).payment


def _loads(ledger: _Ledger, plan: Plan, instance: Instance, tolerance: float) -> Iterator[Finding]:
    stated = {domain.id: domain for domain in plan.domains}
    for domain in instance.domains:
        load = ledger.used[domain.id]
        if load > domain.capacity * (1 + tolerance):
            entry = stated.get(domain.id)
            if entry is None or entry.reserved <= entry.capacity * (1 + tolerance):  # else reported already
                message = f"{domain.id}: the reservations use {load:.9g} of {domain.capacity:.9g}"
                yield Finding("capacity", message, domain=domain.id)
        if domain.id not in stated:
            if load > 0:
                yield Finding("domain", f"{domain.id} is used but not listed", domain=domain.id)
            continue
        said = stated.pop(domain.id)
        if abs(said.reserved - load) > tolerance * max(domain.capacity, load):
            message = (
                f"{domain.id}: {said.reserved:.9g} is stated as reserved, the entries add up to {load:.9g}"
            )
            yield Finding("domain", message, domain=domain.id)
        if abs(said.capacity - domain.capacity) > tolerance * domain.capacity:
            message = f"{domain.id}: capacity {said.capacity:.9g} is stated, it is {domain.capacity:.9g}"
            yield Finding("domain", message, domain=domain.id)
    for name in stated:
        yield Finding("domain", f"there is no domain {name}", domain=name)


def _costs(ledger: _Ledger, plan: Plan, tolerance: float) -> Iterator[Finding]:
    for entry, cost in zip(plan.tenants, ledger.costs, strict=True):
        if abs(entry.cost - cost) > tolerance * max(abs(cost), 1e-9):
            yield Finding("cost", f"cost {entry.cost:.9g} is stated, it is {cost:.9g}", tenant=entry.id)
    total = math.fsum(ledger.costs)
    paid = ledger.paid if plan.objective == "profit" else 0.0
    if plan.cost is not None and abs(plan.cost - (total - paid)) > tolerance * max(total, paid, 1e-9):
        yield Finding("cost", f"the plan states a cost of {plan.cost:.9g}, it is {total - paid:.9g}")
