"""What a period comes to: requests and late ones by tenant, cost by domain, and what crossed a boundary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from itertools import pairwise
from typing import Any

import numpy as np

from fedopt.control.evidence import Period
from fedopt.control.journal import Journal
from fedopt.control.packets import BATCHES
from fedopt.control.planning import Decision, Standing
from fedopt.control.policies import Policy
from fedopt.control.proving import NOTHING, Known
from fedopt.control.queues import Queues
from fedopt.control.scenario import Scenario
from fedopt.control.store import packed
from fedopt.control.timeline import Moment
from fedopt.control.verdicts import Verdict, verdicts
from fedopt.control.world import World, expected_requests, tenant_now
from fedopt.instance import Instance
from fedopt.plan import Plan, TenantPlan
from fedopt.plan.charges import offer_loads

__all__ = ["Accounts", "costs_by_domain", "disclosed", "judge"]


def judge(world: World, heard: Period, confidence: float) -> dict[str, Verdict]:
    """Kept, broken or undecided for every tenant of the period."""
    names = list(heard.sent)
    if not names:
        return {}
    found = verdicts(
        np.array([heard.sent[name] for name in names]),
        np.array([heard.late[name] for name in names]),
        np.array([world.epsilon(name) for name in names]),
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
    policy: Policy, decision: Decision, heard: Period, journal: Journal, previous: Standing | None
) -> int:
    """Numbers that crossed a domain's boundary: of contracts, reports, answers, and new reservations."""
    if policy.mean:  # mean and latency of every offer, once
        contracts = 2 * len(journal.signed) * (journal.period == 0)
    else:
        contracts = sum(_numbers(one.contract.to_dict()) for one, _ in journal.signed)
    reports = (2 * BATCHES + 2) * len(heard.counts) if policy.closed else 0
    answers = 2 * BATCHES * len(heard.answers) if policy.closed else 0
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
        heard: Period,
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
            if member.id in heard.sent:
                sent, late = heard.sent[member.id], heard.late[member.id]
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
        self, world: World, suspended: tuple[str, ...], heard: Period, costs: Mapping[str, float]
    ) -> None:
        """Count a period into the virtual queues."""
        queues, moment = self.queues, world.moment
        for name in [*queues.late]:
            if name not in heard.sent and name not in suspended:
                queues.forget(name)
        patterns = {member.id: member.like for member in moment.members}
        for name in suspended:
            lost = self._expected(name, patterns[name], moment)
            queues.count_late(name, lost, lost, self.instance.tenant(patterns[name]).slo.epsilon)
        for name in heard.sent:
            sent, late = float(heard.sent[name].sum()), float(heard.late[name].sum())
            queues.count_late(name, sent, late, world.epsilon(name))
        if self.budgets is not None:
            for domain, budget in self.budgets.domains.items():
                queues.count_cost(domain, costs.get(domain, 0.0), budget)

    def row(
        self,
        decision: Decision,
        deployed: Plan,
        heard: Period,
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
            "requests": float(sum(sent.sum() for sent in heard.sent.values())),
            "late": float(sum(late.sum() for late in heard.late.values())),
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
