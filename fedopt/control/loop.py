"""Algorithm 1 on a clock: admit and plan, let packets run, audit, recalibrate, settle; period by period."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedopt.contracts import Contract
from fedopt.control.accounts import Accounts, Journal, Settler, costs_by_domain, disclosed, judge
from fedopt.control.admission import Prices
from fedopt.control.auditing import Auditor
from fedopt.control.contracts import Register, Signed
from fedopt.control.environment import Environment, Moment, Timeline, environment
from fedopt.control.fifo_baseline import fifo_baseline
from fedopt.control.kinds import Sender
from fedopt.control.learning import Learner
from fedopt.control.measurement import Observer, Period
from fedopt.control.planner_view import PlannerView, Queues
from fedopt.control.planning import Decision, Standing
from fedopt.control.policies import Policy, Shrinker, check_policy, choose
from fedopt.control.scenario import Budgets, Scenario, scenario_for
from fedopt.control.sessions import Prover, Verdict
from fedopt.control.settings import SETTINGS
from fedopt.control.store import Store
from fedopt.instance import Instance
from fedopt.plan import Plan

__all__ = ["Run", "identity_of", "operate", "run_name"]


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
        self.view = PlannerView(scenario, instance, policy, self.timeline)
        self.observer = Observer(scenario.steps(instance), seed, threads)
        self.auditor = Auditor(scenario.audits, self.register, self.observer)
        self.learner = Learner(scenario, instance)
        self.accounts = Accounts(scenario, instance)
        self.settler = Settler(seed)
        self.prover = Prover(scenario.steps(instance), seed, threads)
        self.shrinker = Shrinker(SETTINGS.shrink_slots, seed)
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

        now = self._environment(moment, deployed, tests)
        observed = self._run_packets(now, deployed, tests)
        verdict = judge(now, observed, self.scenario.audits.confidence)

        self._alert(now, observed, verdict, journal)
        degraded = self._audit(now, deployed, observed, journal)
        self._learn(now, deployed, tests, observed, journal)

        entries = list(deployed.tenants)
        settlement = self.settler.settle(now.promised, entries, verdict, degraded, self.period)
        costs = costs_by_domain(now.truth, [*entries, *(test.entry for test in tests)])
        self.accounts.count(now, decision.suspended, observed, costs)

        self._tally(now, decision, deployed, observed, verdict, journal)
        numbers = disclosed(self.policy, decision, observed, journal, self.standing)
        row = self.accounts.row(decision, deployed, observed, costs, numbers, settlement.received)
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
        """Admit and plan on the planner's view."""
        queues = self.accounts.queues
        self.pricing = self.view.pricing(moment, self.register, queues, self.learner)
        tenants = self.view.tenants(moment, self.refused, self.pricing, self.standing, queues)
        decision = choose(
            self.policy,
            self.pricing,
            tenants,
            self.standing,
            self.view.planning,
            frozenset(self.suspended),
        )
        for tenant in tenants:
            if tenant.id in decision.refused:
                ways = self.pricing.price(tenant, Prices({}, {}).on(self.pricing.infrastructure)).candidates
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
        return self.learner.tests(moment, self.pricing, decision) if self.policy.closed else []

    def _environment(self, moment: Moment, deployed: Plan, tests: Sequence[Sender]) -> Environment:
        """What truly holds in the period."""
        return environment(
            self.instance,
            self.register.promised,
            moment,
            [entry.id for entry in deployed.tenants],
            [test.tenant for test in tests],
            self.scenario.hidden,
        )

    def _run_packets(self, now: Environment, deployed: Plan, tests: Sequence[Sender]) -> Period:
        """Let the period's packets run at the rates that are reserved."""
        entries = [*deployed.tenants, *(test.entry for test in tests)]
        if not entries:
            return Period()
        if self.policy.rule == "none":
            return fifo_baseline(self.observer, now, entries)
        promised = {name: contract.impairment for name, contract in self.register.promised.items()}
        asks = self.learner.asks(self._senders(now, deployed, tests), self.period)
        observed = self.observer.run(now.truth, now.moment, entries, promised, now.hidden, asks)
        for test in tests:  # a test is nobody's request
            del observed.sent[test.entry.id], observed.late[test.entry.id]
        return observed

    def _alert(
        self, now: Environment, observed: Period, verdict: Mapping[str, Verdict], journal: Journal
    ) -> None:
        """A tenant whose period is above ε is an event, whatever its whole session comes to."""
        for name, batches in observed.sent.items():
            sent, late, epsilon = float(batches.sum()), float(observed.late[name].sum()), now.epsilon(name)
            if late > epsilon * sent:
                share = f"{late:,.6g} of {sent:,.6g} requests late ({late / sent:.2g}), above ε = {epsilon:g}"
                journal.event("above-epsilon", name, f"{share}; {verdict[name]}")

    def _audit(self, now: Environment, deployed: Plan, observed: Period, journal: Journal) -> list[Contract]:
        """Audit, recalibrate and re-sign; returns the contracts of domains that are degraded."""
        return self.auditor.audit(now, deployed, observed, journal) if self.policy.closed else []

    def _learn(
        self, now: Environment, deployed: Plan, tests: Sequence[Sender], observed: Period, journal: Journal
    ) -> None:
        """Learn from what domains without a contract answered."""
        senders = self._senders(now, deployed, tests)
        journal.answers(senders, observed.answers)
        if self.policy.closed:
            for risk in self.learner.learn(senders, observed.answers, now.moment):
                journal.learned(risk.subject, risk.like, risk.asks)
                journal.event("learned", risk.subject, risk.words)

    def _senders(self, now: Environment, deployed: Plan, tests: Sequence[Sender]) -> list[Sender]:
        """Who sends to domains without a contract."""
        return [*self.learner.senders(now.moment, now.truth, deployed), *tests]

    def _tally(
        self,
        now: Environment,
        decision: Decision,
        deployed: Plan,
        observed: Period,
        verdict: Mapping[str, Verdict],
        journal: Journal,
    ) -> None:
        """Write down requests, late ones, what is known at the true laws, and the plan where it changed."""
        known = self.prover.known(now, deployed.tenants) if self.policy.rule != "none" else {}
        lost = decision.suspended
        self.accounts.tally(now.moment, self.refused, lost, deployed, observed, verdict, known, journal)
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


Watcher = Callable[[str, int, int, Mapping[str, Any]], bool | None]
"""Told run, period, periods and the period's row; a true answer stops after this period."""


def operate(
    scenario: Scenario,
    instance: Instance,
    store: Store,
    *,
    policies: Sequence[str] = ("fedopt",),
    weights: Sequence[float] = (),
    seed: int = 0,
    threads: int | None = None,
    watch: Watcher | None = None,
) -> None:
    """Run a scenario under each policy, from where the state file left off to the end.

    weights: values of V; for each of them fedopt's loop is run with the scenario's budgets (or those of
    `Budgets` where it has none) as a run of its own, "fedopt V=…".
    Every period is written in one transaction. The state after period k depends on scenario, instance, seed
    and policy alone, not on threads, nor on how often the run was interrupted. Raises InstanceError,
    PolicyError, StateError.
    """
    scenario_for(scenario, instance)
    chosen = [(name, check_policy(name), scenario) for name in policies]
    for v in weights:
        budgets = (scenario.budgets or Budgets(v=v)).model_copy(update={"v": v})
        chosen.append((run_name(v), check_policy("fedopt"), scenario.model_copy(update={"budgets": budgets})))
    for name, policy, its in chosen:
        run = Run(its, instance, policy, store, seed, threads, name)
        while run.period < scenario.periods:
            row = run.step()
            if watch is not None and watch(name, run.period, scenario.periods, row):
                return


def run_name(v: float) -> str:
    """The name of a run at a weight V of its own."""
    return f"fedopt V={v:g}"


def identity_of(scenario: Scenario, instance: Instance, seed: int) -> dict[str, str]:
    """What a state file must say to be this scenario's."""
    text = json.dumps(scenario.to_dict() | {"instance": instance.sha256}, sort_keys=True, ensure_ascii=False)
    return {
        "scenario": scenario.name,
        "scenario_sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
        "instance_sha256": instance.sha256,
        "periods": str(scenario.periods),
        "period": f"{scenario.period:g} {instance.units.time}",
        "seed": str(seed),
    }
