"""The accounts of a run: costs, late requests and tallies of every period, its settlement, and what a period
writes down (contracts, events, audits, rows), gathered until it is committed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from itertools import pairwise
from typing import Any

import numpy as np

from fedopt.audit import Audit
from fedopt.audit.settlement import Line, Settlement, settle
from fedopt.contracts import Contract
from fedopt.control import hidden
from fedopt.control.admission import tenant_class
from fedopt.control.contracts import Signed
from fedopt.control.environment import Environment, Moment, expected_requests, tenant_now
from fedopt.control.hidden import Answers
from fedopt.control.kinds import Sender
from fedopt.control.measurement import Period
from fedopt.control.packets import BATCHES
from fedopt.control.planner_view import Queues
from fedopt.control.planning import Decision, Standing
from fedopt.control.policies import Policy
from fedopt.control.scenario import Scenario
from fedopt.control.sessions import NOTHING, Known, Verdict, verdicts
from fedopt.control.store import PeriodRecord, packed
from fedopt.instance import Ask as Learned
from fedopt.instance import Instance
from fedopt.plan import InstanceReference, Plan, TenantPlan
from fedopt.plan.charges import offer_loads
from fedopt.plan.document import TenantPlans

__all__ = ["Accounts", "Journal", "Settler", "costs_by_domain", "disclosed", "judge"]


class Journal:
    """A period's entries, in the order in which things happened."""

    def __init__(self, period: int) -> None:
        self.period = period
        self.record = PeriodRecord(period)
        self.signed: list[tuple[Signed, str]] = []
        self._events: list[tuple[str, str, str]] = []

    def event(self, kind: str, subject: str, detail: str) -> None:
        """Something happened to a domain, an offer or a tenant."""
        self._events.append((kind, subject, detail))

    def sign(self, contract: Signed, reason: str) -> None:
        """A contract was registered."""
        self.signed.append((contract, reason))

    def audit(self, subject: str, tenant: str, audit: Audit) -> None:
        """A tenant that crosses an offer was audited."""
        self.record.add(
            "audits", self.period, subject, tenant, audit.verdict, packed(audit.to_json(indent=None))
        )

    def answers(self, senders: Sequence[Sender], answers: Sequence[Answers]) -> None:
        """What domains without a contract answered."""
        tests = {sender.entry.id: int(sender.test) for sender in senders}
        for one in answers:
            self.record.add(
                "answers",
                self.period,
                one.ask.subject,
                one.sender,
                one.ask.like,
                tests[one.sender],
                one.ask.throughput,
                one.ask.promised,
                float(one.asked.sum()),
                float(one.rejected.sum()),
            )

    def learned(self, subject: str, like: str, asks: Sequence[Learned]) -> None:
        """What may be promised of an offer without a contract from now on."""
        document = json.dumps([ask.model_dump(mode="json") for ask in asks], ensure_ascii=False)
        self.record.add("learned", self.period, subject, like, packed(document))

    def plan(self, deployed: Plan, instance: Instance) -> None:
        """A plan came into force, made for an instance."""
        documents = packed(deployed.to_json(indent=None)), packed(instance.to_json())
        self.record.add("plans", self.period, *documents)

    def period_ends(self, row: Mapping[str, Any], settlement: Settlement) -> None:
        """The period's row and what was settled."""
        self.record.add("periods", self.period, *row.values())
        document = packed(settlement.to_json(indent=None))
        self.record.add("settlements", self.period, settlement.received, document)

    def close(self, registered: int, carry: dict[str, Any]) -> PeriodRecord:
        """The record to commit. registered: contracts that were registered so far, these included."""
        number = registered - len(self.signed)
        for i, (one, reason) in enumerate(self.signed):
            contract = one.contract
            self.record.add(
                "contracts", number + i, self.period, contract.subject, contract.version, reason, one.token
            )
        for i, (kind, subject, detail) in enumerate(self._events):
            self.record.add("events", self.period, i, kind, subject, detail)
        self.record.carry = carry
        return self.record


class Settler:
    """Settles periods with the rules of `fedopt.audit.settlement`, line by line."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._lines: dict[tuple[object, ...], Line] = {}

    def settle(
        self,
        instance: Instance,
        entries: Sequence[TenantPlan],
        verdicts: Mapping[str, Verdict],
        degraded: Sequence[Contract],
        period: int,
    ) -> Settlement:
        """The settlement of a period. instance: as it was promised; degraded: audited contracts of the
        domains that delivered less.
        """
        lines = [self._line(instance, entry, verdicts[entry.id], degraded) for entry in entries]
        net: dict[str, int] = {}
        for line in lines:
            for domain, revenue, penalty in zip(line.domains, line.revenue, line.penalty, strict=True):
                net[domain] = net.get(domain, 0) + revenue - penalty
        salt = hashlib.sha256(f"fedopt rehearsal salt {self.seed} {period}".encode()).hexdigest()[:32]
        return Settlement(
            period=str(period), rule="marginal", guarantee="minplus", lines=lines, net=net, salt=salt
        )

    def _line(
        self, instance: Instance, entry: TenantPlan, verdict: Verdict, degraded: Sequence[Contract]
    ) -> Line:
        tenant = instance.tenant(entry.id)
        worse = [contract for contract in degraded if contract.subject in entry.path]
        key = (
            tenant_class(tenant),
            tenant.payment,
            tenant.penalty,
            tuple(entry.path),
            tuple(entry.reservations.values()),
            tuple(entry.learned.items()),
            tuple(instance.offer(hop)[1].model_dump_json() for hop in entry.path),
            verdict,
            tuple(contract.to_json() for contract in worse),
        )
        if key not in self._lines:
            if len(self._lines) > 20_000:
                self._lines.clear()
            alone = instance.with_(tenants=(tenant,))
            plan = Plan(
                instance=InstanceReference(name=alone.name, sha256=alone.sha256),
                status="feasible",
                method="operate",
                guarantee="minplus",
                tenants=TenantPlans((entry,)),
            )
            (self._lines[key],) = settle(
                alone, plan, {entry.id: verdict}, degraded=worse, salt="", guarantee="minplus"
            ).lines
        return self._lines[key].model_copy(update={"tenant": entry.id})


def judge(environment: Environment, observed: Period, confidence: float) -> dict[str, Verdict]:
    """Kept, broken or undecided for every tenant of the period."""
    names = list(observed.sent)
    if not names:
        return {}
    found = verdicts(
        np.array([observed.sent[name] for name in names]),
        np.array([observed.late[name] for name in names]),
        np.array([environment.epsilon(name) for name in names]),
        confidence,
    )
    return dict(zip(names, found, strict=True))


def costs_by_domain(instance: Instance, entries: Sequence[TenantPlan]) -> dict[str, float]:
    """Cost of a period by domain at list prices; charges of links under "links"."""
    found: dict[str, float] = {}
    for hop, load in offer_loads(entries).items():
        domain, offer = instance.offer(hop)
        found[domain.id] = found.get(domain.id, 0.0) + float(offer.cost.variable(load))
    links = {(link.from_, link.to): link.cost for link in instance.links or ()}
    for entry in entries:
        hops = entry.hops()
        for hop, (name, _) in zip(entry.path, hops, strict=True):
            found[name] = found.get(name, 0.0) + float(instance.offer(hop)[1].cost.fixed)
        for (a, _), (b, _) in pairwise(hops):
            found["links"] = found.get("links", 0.0) + links.get((a, b), 0.0)
    return found


def disclosed(
    policy: Policy, decision: Decision, observed: Period, journal: Journal, previous: Standing | None
) -> int:
    """Numbers that crossed a domain's boundary: of contracts, reports, answers, and new reservations."""
    if policy.mean:  # mean and latency of every offer, once
        contracts = 2 * len(journal.signed) * (journal.period == 0)
    else:
        contracts = sum(_numbers(one.contract.to_dict()) for one, _ in journal.signed)
    reports = (2 * BATCHES + 2) * len(observed.counts) if policy.closed else 0
    answers = 2 * hidden.BATCHES * len(observed.answers) if policy.closed else 0
    before = {} if previous is None else {entry.id: entry for entry in previous.plan.tenants}
    changed = [
        entry
        for entry in decision.plan.tenants
        if entry.id not in before
        or before[entry.id].path != entry.path
        or before[entry.id].reservations != entry.reservations
    ]
    reserved = 0 if policy.rule == "none" else sum(len(entry.path) for entry in changed)
    return contracts + reports + answers + reserved


class Accounts:
    """Keeps a run's virtual queues and writes its tallies."""

    def __init__(self, scenario: Scenario, instance: Instance) -> None:
        self.instance = instance
        self.slots = scenario.steps(instance)
        self.budgets = scenario.budgets
        self.queues = Queues()

    def tally(
        self,
        moment: Moment,
        refused: set[str],
        suspended: tuple[str, ...],
        deployed: Plan,
        observed: Period,
        verdict: Mapping[str, Verdict],
        known: Mapping[str, Known],
        journal: Journal,
    ) -> None:
        """Write down newcomers, and the requests of everybody who is served or should be.

        known: of the probability of being late, at the domains' true laws.
        """
        record = journal.record
        learned = {entry.id: int(bool(entry.learned)) for entry in deployed.tenants}
        for member in moment.members:
            if member.arrives == journal.period:
                slo = self.instance.tenant(member.like).slo
                admitted = int(member.id not in refused)
                record.add(
                    "members", member.id, member.like, slo.epsilon, slo.deadline, admitted, journal.period
                )
            if member.id in observed.sent:
                sent, late = observed.sent[member.id], observed.late[member.id]
                batches = packed([sent.tolist(), late.tolist()])
                record.add(
                    "tallies",
                    journal.period,
                    member.id,
                    float(sent.sum()),
                    float(late.sum()),
                    verdict[member.id],
                    learned[member.id],
                    *astuple(known.get(member.id, NOTHING)),
                    batches,
                )
            elif member.id in suspended:
                lost = self._expected(member.id, member.like, moment)
                each = [lost / BATCHES] * BATCHES
                batches = packed([each, each])
                record.add(
                    "tallies", journal.period, member.id, lost, lost, "broken", 0, 1.0, 1.0, 1.0, batches
                )

    def count(
        self,
        environment: Environment,
        suspended: tuple[str, ...],
        observed: Period,
        costs: Mapping[str, float],
    ) -> None:
        """Count a period into the virtual queues."""
        queues, moment = self.queues, environment.moment
        for name in [*queues.late]:
            if name not in observed.sent and name not in suspended:
                queues.forget(name)
        patterns = {member.id: member.like for member in moment.members}
        for name in suspended:
            lost = self._expected(name, patterns[name], moment)
            queues.count_late(name, lost, lost, self.instance.tenant(patterns[name]).slo.epsilon)
        for name in observed.sent:
            sent, late = float(observed.sent[name].sum()), float(observed.late[name].sum())
            queues.count_late(name, sent, late, environment.epsilon(name))
        if self.budgets is not None:
            for domain, budget in self.budgets.domains.items():
                queues.count_cost(domain, costs.get(domain, 0.0), budget)

    def row(
        self,
        decision: Decision,
        deployed: Plan,
        observed: Period,
        costs: Mapping[str, float],
        disclosed: int,
        received: int,
    ) -> dict[str, Any]:
        """The period's row of the table `periods`."""
        plan = decision.plan
        return {
            "mode": decision.mode,
            "tenants": len(deployed.tenants),
            "placed": decision.placed,
            "moved": decision.moved,
            "refused": len(decision.refused),
            "suspended": len(decision.suspended),
            "cost": sum(costs.values()),
            "lower_bound": plan.lower_bound,
            "gap": plan.gap,
            "requests": float(sum(sent.sum() for sent in observed.sent.values())),
            "late": float(sum(late.sum() for late in observed.late.values())),
            "disclosed": disclosed,
            "received": received,
            "late_backlog": sum(self.queues.late.values()),
            "cost_backlog": sum(self.queues.cost.values()),
        }

    def _expected(self, name: str, like: str, moment: Moment) -> float:
        tenant = tenant_now(self.instance, name, like, moment.factors)
        return expected_requests(tenant, self.slots, self.instance.slot)


def _numbers(document: Any) -> int:
    """How many numbers a document holds."""
    if isinstance(document, dict):
        return sum(_numbers(value) for value in document.values())
    if isinstance(document, list | tuple):
        return sum(_numbers(value) for value in document)
    return int(isinstance(document, int | float) and not isinstance(document, bool))
