"""Algorithm 1 on a clock: admit and plan, let packets run, audit, recalibrate, settle; period by period."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fedopt.contracts import Contract
from fedopt.control.accounts import Accounts, costs_by_domain, disclosed, judge
from fedopt.control.admission import Prices
from fedopt.control.auditing import Auditor
from fedopt.control.beliefs import Beliefs
from fedopt.control.crowd import crowd
from fedopt.control.evidence import Listener, Period
from fedopt.control.journal import Journal
from fedopt.control.kinds import Sender
from fedopt.control.learning import Learner
from fedopt.control.planning import Decision, Standing
from fedopt.control.policies import Policy, Shrinker, choose
from fedopt.control.proving import Prover
from fedopt.control.queues import Queues
from fedopt.control.register import Register, Signed
from fedopt.control.scenario import Scenario
from fedopt.control.settling import Settler
from fedopt.control.store import Store
from fedopt.control.timeline import Moment, Timeline
from fedopt.control.verdicts import Verdict
from fedopt.control.world import World, world
from fedopt.instance import Instance
from fedopt.plan import Plan

__all__ = ["Run"]

SHRINK_SLOTS = 400_000


class Run:
    """One policy's run of a scenario; `step` is one control period."""

    def __init__(
        self,
        scenario: Scenario,
        instance: Instance,
        policy: Policy,
        store: Store,
        seed: int = 0,
        threads: int | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or policy.name
        self.scenario = scenario
        self.instance = instance
        self.policy = policy
        self.store = store
        self.timeline = Timeline(scenario, instance, seed)
        self.register = Register(scenario, instance, seed)
        self.beliefs = Beliefs(scenario, instance, policy, self.timeline)
        self.listener = Listener(scenario.steps(instance), seed, threads)
        self.auditor = Auditor(scenario.audits, self.register, self.listener)
        self.learner = Learner(scenario, instance)
        self.accounts = Accounts(scenario, instance)
        self.settler = Settler(seed)
        self.prover = Prover(scenario.steps(instance), seed, threads)
        self.shrinker = Shrinker(SHRINK_SLOTS, seed)
        self.standing: Standing | None = None
        self.refused: set[str] = set()
        self.suspended: set[str] = set()
        self.period = 0
        self._opening: list[Signed] = []
        self._resume()

    def step(self) -> dict[str, Any]:
        """Algorithm 1: one control period, run and written down; returns its row."""
        journal = Journal(self.period)
        moment = self.timeline.at(self.period)
        self._hear(moment, journal)

        decision = self._plan(moment, journal)
        deployed = self._deployed(decision)
        tests = self._tests(moment, decision)

        now = self._world(moment, deployed, tests)
        heard = self._run_packets(now, deployed, tests)
        verdict = judge(now, heard, self.scenario.audits.confidence)

        degraded = self._audit(now, deployed, heard, journal)
        self._learn(now, deployed, tests, heard, journal)

        entries = list(deployed.tenants)
        settlement = self.settler.settle(now.promised, entries, verdict, degraded, self.period)
        costs = costs_by_domain(now.truth, [*entries, *(test.entry for test in tests)])
        self.accounts.count(now, decision.suspended, heard, costs)

        self._tally(now, decision, deployed, heard, verdict, journal)
        numbers = disclosed(self.policy, decision, heard, journal, self.standing)
        row = self.accounts.row(decision, deployed, heard, costs, numbers, settlement.received)
        journal.period_ends(row, settlement)

        self.standing = decision.standing
        self.store.commit(self.name, journal.close(self.register.count, self._carried()))
        self.period += 1
        return row

    def _hear(self, moment: Moment, journal: Journal) -> None:
        """Who comes and goes, contracts signed anew, and alarms: failures and recoveries."""
        for one in self._opening:
            journal.sign(one, "opening")
        self._opening = []
        for part in moment.reissued:
            journal.sign(self.register.reissue(part, self.period), "reissued")
            journal.event("contract", f"{part.domain}/{part.offer}", "re-issued by its domain")
        before = self.timeline.at(self.period - 1) if self.period else None
        failed = frozenset() if before is None else before.failed
        for name in sorted(moment.failed - failed):
            journal.event("failed", name, "the domain serves nobody")
        for name in sorted(failed - moment.failed):
            journal.event("recovered", name, "the domain serves again")
        for member in () if before is None else before.members:
            if member.leaves <= self.period:
                journal.event("left", member.id, f"like {member.like}")
        for member in moment.members:
            if member.arrives == self.period:
                journal.event("arrived", member.id, f"like {member.like}")

    def _plan(self, moment: Moment, journal: Journal) -> Decision:
        """Admit and plan on what is believed."""
        queues = self.accounts.queues
        self.believed = self.beliefs.pricing(moment, self.register, queues, self.learner)
        tenants = self.beliefs.tenants(moment, self.refused, self.believed, self.standing, queues)
        decision = choose(
            self.policy,
            self.believed,
            tenants,
            self.standing,
            self.beliefs.planning,
            frozenset(self.suspended),
        )
        for tenant in tenants:
            if tenant.id in decision.refused:
                ways = self.believed.price(tenant, Prices({}, {}).on(self.believed.infrastructure)).candidates
                journal.event("refused", tenant.id, "no room" if ways else "no way keeps its promise")
        for name in decision.suspended:
            journal.event("suspended", name, "its place is gone and there is no other")
        self.refused |= set(decision.refused)
        self.suspended = set(decision.suspended)
        return decision

    def _deployed(self, decision: Decision) -> Plan:
        """The plan that is carried out."""
        if self.policy.measured and decision.plan.tenants:
            return self.shrinker.shrink(decision.instance, decision.plan)
        return decision.plan

    def _tests(self, moment: Moment, decision: Decision) -> list[Sender]:
        """Who asks domains without a contract beside the tenants."""
        return self.learner.tests(moment, self.believed, decision) if self.policy.closed else []

    def _world(self, moment: Moment, deployed: Plan, tests: Sequence[Sender]) -> World:
        """What truly holds in the period."""
        return world(
            self.instance,
            self.register.promised,
            moment,
            [entry.id for entry in deployed.tenants],
            [test.tenant for test in tests],
            self.scenario.hidden,
        )

    def _run_packets(self, now: World, deployed: Plan, tests: Sequence[Sender]) -> Period:
        """Let the period's packets run at the rates that are reserved."""
        entries = [*deployed.tenants, *(test.entry for test in tests)]
        if not entries:
            return Period()
        if self.policy.rule == "none":
            return crowd(self.listener, now, entries)
        promised = {name: contract.impairment for name, contract in self.register.promised.items()}
        asks = self.learner.asks(self._senders(now, deployed, tests), self.period)
        heard = self.listener.run(now.truth, now.moment, entries, promised, now.hidden, asks)
        for test in tests:  # a test is nobody's request
            del heard.sent[test.entry.id], heard.late[test.entry.id]
        return heard

    def _audit(self, now: World, deployed: Plan, heard: Period, journal: Journal) -> list[Contract]:
        """Audit, recalibrate and re-sign; returns the contracts of domains that are degraded."""
        return self.auditor.audit(now, deployed, heard, journal) if self.policy.closed else []

    def _learn(
        self, now: World, deployed: Plan, tests: Sequence[Sender], heard: Period, journal: Journal
    ) -> None:
        """Learn from what domains without a contract answered."""
        senders = self._senders(now, deployed, tests)
        journal.answers(senders, heard.answers)
        if self.policy.closed:
            for lesson in self.learner.learn(senders, heard.answers, now.moment):
                journal.learned(lesson.subject, lesson.like, lesson.asks)
                journal.event("learned", lesson.subject, lesson.words)

    def _senders(self, now: World, deployed: Plan, tests: Sequence[Sender]) -> list[Sender]:
        """Who sends to domains without a contract."""
        return [*self.learner.senders(now.moment, now.truth, deployed), *tests]

    def _tally(
        self,
        now: World,
        decision: Decision,
        deployed: Plan,
        heard: Period,
        verdict: Mapping[str, Verdict],
        journal: Journal,
    ) -> None:
        """Write down requests, late ones, what is known at the true laws, and the plan where it changed."""
        known = self.prover.known(now, deployed.tenants) if self.policy.rule != "none" else {}
        lost = decision.suspended
        self.accounts.tally(now.moment, self.refused, lost, deployed, heard, verdict, known, journal)
        if self.period == 0 or decision.mode != "kept" or decision.plan.tenants.ids() != self._served():
            journal.plan(deployed, decision.instance)

    def _served(self) -> list[str]:
        """Who was served in the period before."""
        return [] if self.standing is None else self.standing.plan.tenants.ids()

    def _carried(self) -> dict[str, Any]:
        """All that the next period needs to know; `_resume` takes it up."""
        standing = self.standing
        assert standing is not None
        return {
            "plan": json.loads(standing.plan.to_json(indent=None)),
            "prices": {"loads": dict(standing.prices.loads), "capacity": dict(standing.prices.capacity)},
            "refused": sorted(self.refused),
            "suspended": sorted(self.suspended),
            **self.auditor.state(),
            "learner": self.learner.state(),
            "queues": self.accounts.queues.to_dict(),
            "promised": self.register.changed_promises(),
        }

    def _resume(self) -> None:
        carried = self.store.carry(self.name)
        if carried is None:
            self._opening = self.register.open()
            return
        self.period = carried["period"] + 1
        prices = Prices(carried["prices"]["loads"], carried["prices"]["capacity"])
        self.standing = Standing(Plan.model_validate(carried["plan"]), prices)
        self.refused = set(carried["refused"])
        self.suspended = set(carried["suspended"])
        self.auditor.resume(carried)
        self.learner.resume(carried["learner"])
        self.accounts.queues = Queues.of(carried["queues"])
        self.register.restore(self.store.tokens(self.name), carried["promised"])
